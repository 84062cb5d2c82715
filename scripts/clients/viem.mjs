// viem against RPC_URL: a transfer, an ERC-20 deployed and used, its logs, a revert, newHeads.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ALICE, ALICE_KEY, BOB, RPC_URL, WS_URL, load, run } from './peers.mjs';

const viem = await load('viem');
const { foundry } = await load('viem/chains');
const { privateKeyToAccount } = await load('viem/accounts');
const token = JSON.parse(readFileSync(new URL('token.json', import.meta.url)));
const { abi, bytecode } = token;

const transport = viem.http(RPC_URL, { retryCount: 0 });
const pollingInterval = 50;
const reader = viem.createPublicClient({ chain: foundry, transport, pollingInterval, cacheTime: 0 });
const account = privateKeyToAccount(ALICE_KEY);
const writer = viem.createWalletClient({ account, chain: foundry, transport });
const mined = (hash) => reader.waitForTransactionReceipt({ hash });

await run('viem', async () => {
  assert.equal(account.address, ALICE);
  assert.equal(await reader.getChainId(), foundry.id);
  await plainTransfer();
  const address = await erc20();
  await revert(address);
  await newHeads();
});

async function plainTransfer() {
  const value = viem.parseEther('1.5');
  const balance = (address, blockNumber) => reader.getBalance({ address, blockNumber });
  const [alice, bob] = [await balance(ALICE), await balance(BOB)];
  const receipt = await mined(await writer.sendTransaction({ to: BOB, value }));
  assert.equal(receipt.status, 'success');
  assert.equal(receipt.gasUsed, 21_000n);
  assert.equal((await balance(BOB)) - bob, value);
  assert.equal(alice - (await balance(ALICE)), value + receipt.gasUsed * receipt.effectiveGasPrice);
  assert.equal(await balance(BOB, receipt.blockNumber - 1n), bob);

  const block = await reader.getBlock({ blockNumber: receipt.blockNumber });
  assert.equal(block.hash, receipt.blockHash);
  assert.ok(block.transactions.includes(receipt.transactionHash));
}

async function erc20() {
  const supply = viem.parseUnits('1000', 18);
  const creation = await mined(await writer.deployContract({ abi, bytecode, args: [supply] }));
  const address = viem.getAddress(creation.contractAddress);
  const read = (functionName, args) => reader.readContract({ address, abi, functionName, args });
  assert.equal(await read('symbol'), 'KEEL');
  assert.equal(await read('totalSupply'), supply);

  const value = viem.parseUnits('25', 18);
  const call = { address, abi, functionName: 'transfer', args: [BOB, value] };
  const { request } = await reader.simulateContract({ account, ...call });
  const receipt = await mined(await writer.writeContract(request));
  assert.equal(receipt.status, 'success');
  assert.equal(await read('balanceOf', [BOB]), value);

  const eventName = 'Transfer';
  const logs = await reader.getContractEvents({ address, abi, eventName, fromBlock: 0n });
  assert.deepEqual(
    logs.map(({ args }) => args),
    [
      { from: viem.zeroAddress, to: ALICE, value: supply },
      { from: ALICE, to: BOB, value },
    ],
  );
  const args = { to: BOB };
  const toBob = await reader.getContractEvents({ address, abi, eventName, args, fromBlock: 0n });
  assert.deepEqual(toBob.map((log) => log.transactionHash), [receipt.transactionHash]);
  return address;
}

async function revert(address) {
  const all = await reader.readContract({ address, abi, functionName: 'balanceOf', args: [ALICE] });
  const call = { address, abi, functionName: 'transfer', args: [BOB, all + 1n], account };
  await assert.rejects(reader.simulateContract(call), (error) => {
    const cause = error.walk((inner) => inner instanceof viem.ContractFunctionRevertedError);
    return cause?.data?.errorName === 'InsufficientBalance' && cause.data.args[0] === all;
  });
}

async function newHeads() {
  const socket = viem.createPublicClient({ chain: foundry, transport: viem.webSocket(WS_URL) });
  const heads = [];
  let unwatch;
  const two = new Promise((resolve, reject) => {
    const onBlock = ({ number, hash }) => heads.push({ number, hash }) === 2 && resolve();
    unwatch = socket.watchBlocks({ onBlock, onError: reject });
  });
  // The subscription must stand before the blocks that it is to report.
  await socket.getBlockNumber();
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const value of [1n, 2n]) await mined(await writer.sendTransaction({ to: BOB, value }));
  await two;
  assert.equal(heads[1].number, heads[0].number + 1n);
  for (const { number, hash } of heads) {
    assert.equal((await reader.getBlock({ blockNumber: number })).hash, hash);
  }
  unwatch();
}
