// ethers against RPC_URL: a transfer, an ERC-20 deployed and used, its logs, a revert, newHeads.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ALICE, ALICE_KEY, BOB, RPC_URL, WS_URL, load, run } from './peers.mjs';

const { ethers } = await load('ethers');
const token = JSON.parse(readFileSync(new URL('token.json', import.meta.url)));

await run('ethers', async () => {
  // No caching of answers: the checks read right after they write.
  const provider = new ethers.JsonRpcProvider(RPC_URL, undefined, { cacheTimeout: -1 });
  provider.pollingInterval = 50;
  const wallet = new ethers.Wallet(ALICE_KEY, provider);
  assert.equal(wallet.address, ALICE);
  assert.equal((await provider.getNetwork()).chainId, 31337n);

  await plainTransfer(provider, wallet);
  const contract = await erc20(provider, wallet);
  await revert(contract);
  await newHeads(wallet);
});

async function plainTransfer(provider, wallet) {
  const value = ethers.parseEther('1.5');
  const [alice, bob] = [await provider.getBalance(ALICE), await provider.getBalance(BOB)];
  const sent = await wallet.sendTransaction({ to: BOB, value });
  const receipt = await sent.wait();
  assert.equal(receipt.status, 1);
  assert.equal(receipt.gasUsed, 21_000n);
  assert.equal(receipt.hash, sent.hash);
  assert.equal((await provider.getBalance(BOB)) - bob, value);
  const fee = receipt.gasUsed * receipt.gasPrice;
  assert.equal(alice - (await provider.getBalance(ALICE)), value + fee);

  const block = await provider.getBlock(receipt.blockNumber);
  assert.equal(block.hash, receipt.blockHash);
  assert.ok(block.transactions.includes(sent.hash));
  const found = await provider.getTransaction(sent.hash);
  assert.deepEqual([found.from, found.to, found.value], [ALICE, BOB, value]);
  // The chain keeps its past: one block before, the money had not arrived.
  assert.equal(await provider.getBalance(BOB, receipt.blockNumber - 1), bob);
}

async function erc20(provider, wallet) {
  const supply = ethers.parseUnits('1000', 18);
  const factory = new ethers.ContractFactory(token.abi, token.bytecode, wallet);
  const contract = await factory.deploy(supply);
  await contract.waitForDeployment();
  const address = await contract.getAddress();
  assert.notEqual(await provider.getCode(address), '0x');
  assert.equal(await contract.name(), 'Keel');
  assert.equal(await contract.totalSupply(), supply);

  const value = ethers.parseUnits('25', 18);
  const receipt = await (await contract.transfer(BOB, value)).wait();
  assert.equal(await contract.balanceOf(BOB), value);
  assert.equal(await contract.balanceOf(ALICE), supply - value);

  const events = await contract.queryFilter('Transfer', 0, 'latest');
  const args = events.map((event) => [event.args.from, event.args.to, event.args.value]);
  assert.deepEqual(args, [[ethers.ZeroAddress, ALICE, supply], [ALICE, BOB, value]]);
  const toBob = await contract.queryFilter(contract.filters.Transfer(null, BOB), 0, 'latest');
  assert.deepEqual(toBob.map((event) => event.transactionHash), [receipt.hash]);
  return contract;
}

async function revert(contract) {
  const all = await contract.balanceOf(ALICE);
  const reverted = (error) => {
    // ethers decodes the revert of a call but leaves that of an estimate as data.
    const { name, args } = contract.interface.parseError(error.data);
    return error.code === 'CALL_EXCEPTION' && name === 'InsufficientBalance' && args.balance === all;
  };
  await assert.rejects(contract.transfer.staticCall(BOB, all + 1n), reverted);
  await assert.rejects(contract.transfer.estimateGas(BOB, all + 1n), reverted);
}

async function newHeads(wallet) {
  const socket = new ethers.WebSocketProvider(WS_URL);
  const heads = [];
  const two = new Promise((resolve) => {
    socket.on('block', (number) => heads.push(number) === 2 && resolve());
  });
  // The subscription must stand before the blocks that it is to report.
  await socket.getBlockNumber();
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const value of [1n, 2n]) await (await wallet.sendTransaction({ to: BOB, value })).wait();
  await two;
  assert.equal(heads[1], heads[0] + 1);
  await socket.destroy();
}
