#!/usr/bin/env python3
"""web3.py against RPC_URL: a transfer, an ERC-20 deployed and used, its logs, a revert, newHeads.

Run it with the python of `scripts/peers`: target/peers/venv/bin/python scripts/clients/web3_check.py
"""

import asyncio
import json
import os
import sys
from pathlib import Path

try:
    from web3 import AsyncWeb3, Web3, WebSocketProvider
    from web3.exceptions import ContractCustomError
except ImportError:
    print("web3 is not installed: run scripts/peers", file=sys.stderr)
    sys.exit(2)

RPC_URL = os.environ.get("RPC_URL", "http://127.0.0.1:8545")
ALICE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ALICE_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
BOB = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ZERO = "0x" + "00" * 20
TOKEN = json.loads(Path(__file__).with_name("token.json").read_text())
LIMIT_S = 60

w3 = Web3(Web3.HTTPProvider(RPC_URL, request_kwargs={"timeout": 30}))


def check(found, expected):
    """Fails with both values: asserts vanish under `python -O`."""
    if found != expected:
        raise AssertionError(f"found {found!r}, expected {expected!r}")


def mined(tx_hash):
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash, timeout=30, poll_latency=0.05)
    check(receipt.status, 1)
    return receipt


def send_signed(transaction):
    """Fills in what is missing, signs here and sends raw, as every wallet does."""
    fee = w3.eth.get_block("latest").baseFeePerGas * 2 + 10**9
    transaction = {
        "chainId": w3.eth.chain_id,
        "nonce": w3.eth.get_transaction_count(ALICE, "pending"),
        "maxFeePerGas": fee,
        "maxPriorityFeePerGas": 10**9,
        **transaction,
    }
    if "gas" not in transaction:
        transaction["gas"] = w3.eth.estimate_gas({**transaction, "from": ALICE})
    signed = w3.eth.account.sign_transaction(transaction, ALICE_KEY)
    return w3.eth.send_raw_transaction(signed.raw_transaction)


def plain_transfer():
    value = w3.to_wei("1.5", "ether")
    alice, bob = w3.eth.get_balance(ALICE), w3.eth.get_balance(BOB)
    receipt = mined(send_signed({"to": BOB, "value": value}))
    check(receipt.gasUsed, 21_000)
    check(w3.eth.get_balance(BOB) - bob, value)
    fee = receipt.gasUsed * receipt.effectiveGasPrice
    check(alice - w3.eth.get_balance(ALICE), value + fee)
    check(w3.eth.get_balance(BOB, receipt.blockNumber - 1), bob)
    block = w3.eth.get_block(receipt.blockNumber, full_transactions=True)
    check(block.hash, receipt.blockHash)
    check(block.transactions[receipt.transactionIndex].hash, receipt.transactionHash)


def erc20():
    supply, value = 1_000 * 10**18, 25 * 10**18
    factory = w3.eth.contract(abi=TOKEN["abi"], bytecode=TOKEN["bytecode"])
    creation = factory.constructor(supply).build_transaction({"from": ALICE})
    receipt = mined(send_signed({"data": creation["data"]}))
    token = w3.eth.contract(address=receipt.contractAddress, abi=TOKEN["abi"])
    check(token.functions.symbol().call(), "KEEL")
    check(token.functions.balanceOf(ALICE).call(), supply)

    call = token.functions.transfer(BOB, value).build_transaction({"from": ALICE})
    receipt = mined(send_signed({"to": token.address, "data": call["data"]}))
    check(token.functions.balanceOf(BOB).call(), value)
    events = token.events.Transfer().get_logs(from_block=0)
    found = [(event.args["from"], event.args["to"], event.args["value"]) for event in events]
    check(found, [(ZERO, ALICE, supply), (ALICE, BOB, value)])
    check(events[1].transactionHash, receipt.transactionHash)
    return token


def revert(token):
    everything = token.functions.balanceOf(ALICE).call()
    try:
        token.functions.transfer(BOB, everything + 1).call({"from": ALICE})
    except ContractCustomError as error:
        # InsufficientBalance(balance, needed): a selector and two words.
        words = bytes.fromhex(str(error.data).removeprefix("0x"))
        check(int.from_bytes(words[4:36], "big"), everything)
        return
    raise AssertionError("a transfer of more than the balance did not revert")


async def new_heads():
    url = RPC_URL.replace("http", "ws", 1)
    async with AsyncWeb3(WebSocketProvider(url)) as socket:
        subscription = await socket.eth.subscribe("newHeads")
        heads = []
        for value in (1, 2):
            mined(send_signed({"to": BOB, "value": value}))
        async for message in socket.socket.process_subscriptions():
            check(message["subscription"], subscription)
            heads.append(message["result"])
            if len(heads) == 2:
                break
        check(heads[1]["number"], heads[0]["number"] + 1)
        check(heads[1]["parentHash"], heads[0]["hash"])
        await socket.eth.unsubscribe(subscription)


def main():
    check(w3.eth.chain_id, 31337)
    check(w3.eth.account.from_key(ALICE_KEY).address, ALICE)
    plain_transfer()
    revert(erc20())
    asyncio.run(asyncio.wait_for(new_heads(), LIMIT_S))
    print("ok web3")


if __name__ == "__main__":
    main()
