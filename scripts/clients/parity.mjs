// The same calls to two nodes after the same set-up; prints what differs in shape or value.
//
//   ANVIL_URL=http://127.0.0.1:8546 RPC_URL=http://127.0.0.1:8545 node parity.mjs [METHOD..]
//
// Both nodes are fresh and were started with `--timestamp 1800000000` and no other flags that
// change the chain. Run by hand: what differs is looked at, not asserted. `--all` also prints what
// is listed in DELIBERATE, with its reason.
import { readFileSync } from 'node:fs';
import { ALICE, BOB, RPC_URL, load } from './peers.mjs';

const viem = await load('viem');
const { abi, bytecode } = JSON.parse(readFileSync(new URL('token.json', import.meta.url)));
const ANVIL_URL = process.env.ANVIL_URL ?? 'http://127.0.0.1:8546';
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const isAll = process.argv.includes('--all');

const CAROL = '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC';
const NOBODY = '0x00000000000000000000000000000000000000ee';
const HASH = `0x${'ab'.repeat(32)}`;
// Its code is `PUSH1 0 PUSH1 0 REVERT`.
const REVERTER = '0x600a600c600039600a6000f360006000fd0000000000';

/// Fields that depend on the process, on hashing of what differs elsewhere, or on the clock.
const VOLATILE = /^(clientVersion|clientSemver|clientCommitSha|instanceId)$/;

/// Stands in parameters for the answer of an earlier call.
class Answer {
  constructor(index) {
    this.index = index;
  }
}

/// One node under test.
class Peer {
  constructor(url) {
    this.url = url;
    this.answers = [];
  }

  async ask(method, params) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const headers = { 'content-type': 'application/json' };
    try {
      const answer = await fetch(this.url, { method: 'POST', headers, body });
      const { result, error } = await answer.json();
      return error ? { error } : { result };
    } catch (error) {
      // A request that panics ends anvil's connection, not anvil.
      return { error: { code: 0, message: `no answer: ${error.message}` } };
    }
  }

  async must(method, params) {
    const { result, error } = await this.ask(method, params);
    if (error) throw new Error(`${this.url} ${method} ${JSON.stringify(params)}: ${error.message}`);
    return result;
  }

  async receipt(hash) {
    for (let look = 0; look < 1000; look++) {
      const receipt = await this.must('eth_getTransactionReceipt', [hash]);
      if (receipt) return receipt;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${this.url}: ${hash} is not mined`);
  }

  async send(tx) {
    return this.receipt(await this.must('eth_sendTransaction', [tx]));
  }
}

/// Blocks 1..5 with fixed times: a token, transfers, logs, a failed transaction, a reverter.
async function setUp(peer) {
  let time = 1_800_000_100;
  const send = async (tx) => {
    await peer.must('evm_setNextBlockTimestamp', [(time += 12)]);
    // anvil's first block keeps the base fee of the genesis block, which EIP-1559 lowers.
    await peer.must('anvil_setNextBlockBaseFeePerGas', ['0x3b9aca00']);
    return peer.send({ gas: '0x100000', ...FEES, ...tx });
  };
  const args = viem.encodeAbiParameters([{ type: 'uint256' }], [10n ** 21n]);
  const creation = await send({ from: ALICE, data: bytecode + args.slice(2) });
  const token = creation.contractAddress;
  const move = viem.encodeFunctionData({ abi, functionName: 'transfer', args: [BOB, 5n] });
  const tooMuch = viem.encodeFunctionData({ abi, functionName: 'transfer', args: [ALICE, 10n ** 30n] });
  const moved = await send({ from: ALICE, to: token, data: move });
  const plain = await send({ from: ALICE, to: BOB, value: '0xde0b6b3a7640000' });
  const failed = await send({ from: BOB, to: token, data: tooMuch });
  const reverter = (await send({ from: BOB, data: REVERTER })).contractAddress;
  return {
    token, reverter, move, tooMuch,
    creation: creation.transactionHash, moved: moved.transactionHash,
    plain: plain.transactionHash, failed: failed.transactionHash, block: moved.blockHash,
  };
}

const FEES = { maxFeePerGas: '0x77359400', maxPriorityFeePerGas: '0x3b9aca00' };
const TRANSFER_TOPIC = viem.toEventSelector('Transfer(address,address,uint256)');

/// Every call, in order: they see the state that those before have made. A function of what the
/// set-up made, and of the answers so far by label.
function calls(made) {
  const list = [];
  // The index names the answer of the call, for later ones.
  const call = (method, ...params) => new Answer(list.push({ method, params }) - 1);
  const { token, move, tooMuch } = made;

  for (const method of [
    'web3_clientVersion', 'net_version', 'net_listening', 'net_peerCount', 'rpc_modules',
    'eth_chainId', 'eth_networkId', 'eth_protocolVersion', 'eth_syncing', 'eth_coinbase',
    'eth_accounts', 'eth_requestAccounts', 'eth_blockNumber', 'eth_gasPrice',
    'eth_maxPriorityFeePerGas', 'eth_baseFee', 'eth_blobBaseFee', 'eth_config',
    'eth_mining', 'eth_hashrate', 'eth_pendingTransactions', 'txpool_status', 'txpool_inspect',
    'txpool_content', 'anvil_getAutomine', 'hardhat_getAutomine', 'anvil_getIntervalMining',
    'anvil_nodeInfo', 'anvil_metadata', 'hardhat_metadata', 'anvil_getGenesisTime',
  ]) call(method);
  call('web3_sha3', '0x68656c6c6f');

  for (const block of ['latest', 'earliest', 'pending', 'safe', 'finalized', '0x2', '0x63', 2]) {
    call('eth_getBlockByNumber', block, true);
    call('eth_getBlockTransactionCountByNumber', block);
    call('eth_getUncleCountByBlockNumber', block);
    call('eth_getBlockReceipts', block);
    call('eth_getBalance', ALICE, block);
    call('eth_getTransactionCount', ALICE, block);
    call('eth_getStorageAt', token, '0x0', block);
    call('eth_feeHistory', '0x3', block, [10, 50]);
  }
  call('eth_getBlockByNumber', 'latest', false);
  for (const hash of [made.block, HASH]) {
    call('eth_getBlockByHash', hash, true);
    call('eth_getBlockByHash', hash, false);
    call('eth_getHeaderByHash', hash);
    call('eth_getBlockReceipts', hash);
    call('eth_getBlockTransactionCountByHash', hash);
    call('eth_getUncleCountByBlockHash', hash);
    call('eth_getUncleByBlockHashAndIndex', hash, '0x0');
    call('eth_getTransactionByBlockHashAndIndex', hash, '0x0');
    call('eth_getBalance', ALICE, { blockHash: hash });
    call('debug_getRawHeader', hash);
    call('debug_getRawBlock', hash);
    call('debug_getRawReceipts', hash);
  }
  call('eth_getHeaderByNumber', '0x2');
  call('eth_getUncleByBlockNumberAndIndex', '0x2', '0x0');
  call('eth_getTransactionByBlockNumberAndIndex', '0x2', '0x0');
  call('eth_getTransactionByBlockNumberAndIndex', '0x2', '0x7');
  call('eth_getRawTransactionByBlockNumberAndIndex', '0x2', '0x0');
  call('eth_getTransactionBySenderAndNonce', ALICE, '0x1');
  call('eth_getTransactionBySenderAndNonce', ALICE, '0x50');

  const traced = { tracer: 'callTracer' };
  for (const hash of [made.creation, made.moved, made.plain, made.failed, HASH]) {
    call('eth_getTransactionByHash', hash);
    call('eth_getTransactionReceipt', hash);
    call('eth_getRawTransactionByHash', hash);
    call('debug_getRawTransaction', hash);
    call('debug_traceTransaction', hash, traced);
    call('debug_traceTransaction', hash, { ...traced, tracerConfig: { withLog: true } });
    call('debug_traceTransaction', hash, { ...traced, tracerConfig: { onlyTopCall: true } });
  }
  for (const account of [ALICE, token, NOBODY]) {
    call('eth_getCode', account, 'latest');
    call('eth_getAccount', account, 'latest');
    call('eth_getAccountInfo', account, 'latest');
  }

  const logs = [
    {}, { fromBlock: '0x0' }, { fromBlock: '0x0', toBlock: 'latest', address: token },
    { fromBlock: '0x0', topics: [TRANSFER_TOPIC] },
    { fromBlock: '0x0', topics: [[TRANSFER_TOPIC, HASH], null] }, { blockHash: made.block },
    { blockHash: HASH }, { fromBlock: '0x5', toBlock: '0x1' }, { fromBlock: '0x63' },
    { address: [token, NOBODY], fromBlock: 'earliest' },
  ];
  for (const query of logs) call('eth_getLogs', query);

  const good = { from: ALICE, to: token, data: move };
  const bad = { from: BOB, to: token, data: tooMuch };
  const requests = [
    good, bad, { from: BOB, to: made.reverter }, { to: token }, { from: ALICE, to: BOB, value: '0x1' },
    { from: NOBODY, to: BOB, value: '0x1' }, { from: ALICE, data: bytecode },
    { ...good, gas: '0x100' }, { ...good, gas: 100000 }, { ...good, value: 0, nonce: 99 },
    { ...good, gasPrice: '0x1' }, { ...good, ...FEES }, { data: '0x46' + '5f5260205ff3' },
    { data: '0x435f5260205ff3' }, { data: '0xfe' }, { from: ALICE, to: BOB, value: '0xffffffffffffffffffffff' },
  ];
  for (const request of requests) {
    call('eth_call', request, 'latest');
    call('eth_estimateGas', request);
    call('debug_traceCall', request, 'latest', traced);
  }
  call('eth_call', good, '0x1');
  call('eth_call', good, '0x63');
  call('eth_call', good, 'latest', { [token]: { code: '0x602a5f5260205ff3' } });
  call('eth_call', good, 'latest', { [ALICE]: { balance: '0x0', nonce: '0x9' } });
  call('eth_call', { data: '0x435f5260205ff3' }, 'latest', {}, { number: '0x100', time: '0x1' });

  call('eth_sign', ALICE, '0xdeadbeef');
  call('eth_sign', NOBODY, '0xdeadbeef');
  call('personal_sign', '0xdeadbeef', ALICE);
  const tx = { from: ALICE, to: BOB, value: '0x1', gas: '0x5208', nonce: '0x3', ...FEES };
  call('eth_signTransaction', tx);
  call('eth_signTransaction', { ...tx, from: NOBODY });
  const types = {
    EIP712Domain: [{ name: 'name', type: 'string' }, { name: 'chainId', type: 'uint256' }],
    Note: [{ name: 'text', type: 'string' }],
  };
  const typed = { types, primaryType: 'Note', domain: { name: 'x', chainId: 31337 }, message: { text: 'hi' } };
  call('eth_signTypedData_v4', ALICE, typed);
  call('eth_signTypedData_v4', ALICE, JSON.stringify(typed));

  // Wrong and missing parameters.
  for (const [method, ...params] of [
    ['eth_noSuchMethod'], ['eth_getBalance'], ['eth_getBalance', ALICE], ['eth_getBalance', '0x12', 'latest'],
    ['eth_getBalance', ALICE, 'newest'], ['eth_getBlockByNumber', '0x1'], ['eth_chainId', 1],
    ['eth_getCode', ALICE], ['eth_getStorageAt', token, '0x0'], ['eth_getStorageAt', token, 0, 'latest'],
    ['eth_getTransactionByHash', '0x12'], ['eth_call', good], ['eth_call', {}], ['eth_estimateGas', {}],
    ['eth_sendRawTransaction', '0x'], ['eth_sendRawTransaction', '0x1234'], ['eth_sendTransaction', { from: NOBODY, to: BOB }],
    ['eth_sendTransaction', { ...tx, nonce: '0x0' }], ['eth_sendTransaction', { ...tx, nonce: undefined, gas: '0x1' }],
    ['eth_sendTransaction', { ...tx, nonce: undefined, value: '0xffffffffffffffffffffffff' }],
    ['eth_sendTransaction', { ...tx, nonce: undefined, maxFeePerGas: '0x1', maxPriorityFeePerGas: '0x1' }],
    ['eth_sendTransaction', { ...tx, nonce: undefined, chainId: '0x1' }],
    ['eth_sendTransaction', { ...tx, nonce: undefined, gas: '0xffffffff' }],
    ['eth_getFilterChanges', '0x99'], ['eth_getFilterLogs', '0x99'], ['eth_uninstallFilter', '0x99'],
    ['eth_subscribe', 'newHeads'], ['evm_revert', '0x99'], ['anvil_setBalance', ALICE],
    ['evm_increaseTime', 'abc'], ['evm_setNextBlockTimestamp', 1], ['evm_setTime', 1],
    ['anvil_dropTransaction', HASH], ['anvil_setMinGasPrice', '0x1'], ['anvil_nodeInfo', 1],
  ]) call(method, ...params);

  devCalls(call, token);
  return list;
}

/// What changes the chain or the node.
function devCalls(call, token) {
  const block = () => call('eth_getBlockByNumber', 'latest', false);
  call('evm_snapshot');
  call('anvil_metadata');
  call('anvil_setBalance', NOBODY, '0xde0b6b3a7640000');
  call('hardhat_addBalance', NOBODY, 5);
  call('eth_getBalance', NOBODY, 'latest');
  call('anvil_setNonce', NOBODY, '0x7');
  call('evm_setAccountNonce', NOBODY, 8);
  call('eth_getTransactionCount', NOBODY, 'latest');
  call('anvil_setCode', NOBODY, '0x6001');
  call('eth_getCode', NOBODY, 'latest');
  call('anvil_setStorageAt', NOBODY, '0x1', `0x${'00'.repeat(31)}07`);
  call('hardhat_setStorageAt', NOBODY, 2, `0x${'00'.repeat(31)}08`);
  call('eth_getStorageAt', NOBODY, '0x1', 'latest');
  call('anvil_setCoinbase', CAROL);
  call('eth_coinbase');
  call('anvil_setNextBlockBaseFeePerGas', '0x3b9aca07');
  call('anvil_setNextBlockPrevRandao', HASH);
  call('evm_setNextBlockTimestamp', '0x6b49d800');
  call('evm_setBlockGasLimit', '0x1000000');
  call('eth_gasPrice');
  call('evm_mine');
  block();
  call('evm_mine', { timestamp: 1_800_001_000 });
  call('evm_mine', 1_800_001_000);
  call('evm_mine', '0x6b49dc00');
  block();
  call('anvil_mine', '0x3', '0xc');
  block();
  call('anvil_setBlockTimestampInterval', 5);
  call('evm_mine');
  block();
  call('anvil_removeBlockTimestampInterval');
  call('anvil_removeBlockTimestampInterval');
  call('hardhat_mine', 2);
  call('evm_mine_detailed', { blocks: 1, timestamp: 1_800_002_000 });

  call('evm_setAutomine', false);
  call('anvil_getAutomine');
  const filters = [
    call('eth_newFilter', { address: token }),
    call('eth_newBlockFilter'),
    call('eth_newPendingTransactionFilter'),
  ];
  const poll = () => filters.forEach((filter) => call('eth_getFilterChanges', filter));
  const move = { to: token, gas: '0x100000', ...FEES, nonce: undefined };
  call('eth_sendTransaction', { ...move, from: ALICE, data: TRANSFER_DATA, nonce: '0x3' });
  call('eth_sendTransaction', { ...move, from: ALICE, data: TRANSFER_DATA, nonce: '0x5' });
  call('eth_sendTransaction', { ...move, from: ALICE, data: TRANSFER_DATA, nonce: '0x5' });
  call('eth_sendTransaction', { ...move, from: ALICE, data: '0x', nonce: '0x5' });
  call('anvil_impersonateAccount', NOBODY);
  call('eth_sendTransaction', { from: NOBODY, to: BOB, value: '0x1', gas: '0x5208', ...FEES });
  call('anvil_stopImpersonatingAccount', NOBODY);
  call('txpool_status');
  call('txpool_inspect');
  call('txpool_content');
  call('eth_pendingTransactions');
  call('eth_getTransactionCount', ALICE, 'pending');
  call('eth_getBlockByNumber', 'pending', false);
  call('eth_getBlockTransactionCountByNumber', 'pending');
  poll();
  call('anvil_removePoolTransactions', NOBODY);
  call('txpool_status');
  call('evm_mine', { timestamp: 1_800_003_000 });
  call('txpool_status');
  poll();
  poll();
  call('eth_getFilterLogs', filters[0]);
  call('eth_getFilterLogs', filters[1]);
  filters.forEach((filter) => call('eth_uninstallFilter', filter));
  poll();
  call('anvil_dropAllTransactions');
  call('txpool_status');
  call('evm_setAutomine', true);
  call('evm_setIntervalMining', 600);
  call('anvil_getIntervalMining');
  call('anvil_getAutomine');
  call('evm_setIntervalMining', 0);
  call('anvil_setLoggingEnabled', true);
  call('anvil_autoImpersonateAccount', true);
  call('anvil_autoImpersonateAccount', false);
  call('anvil_setChainId', 1);
  call('eth_chainId');
  call('anvil_setChainId', 31337);
  call('evm_increaseTime', 100);
  call('evm_increaseTime', '0x64');
  call('evm_setTime', '0x6b4a0000');
  call('evm_revert', '0x0');
  call('evm_revert', '0x0');
  call('eth_blockNumber');
  call('eth_getBalance', NOBODY, 'latest');
  call('anvil_reset');
  call('eth_blockNumber');
  call('eth_getBalance', ALICE, 'latest');
  call('eth_sendTransaction', { from: BOB, data: '0x60006000fd' });
}

const TRANSFER_DATA = viem.encodeFunctionData({ abi, functionName: 'transfer', args: [CAROL, 1n] });

/// What is meant to differ: method (or /pattern/ of `method params`), and why.
const DELIBERATE = JSON.parse(readFileSync(new URL('parity.json', import.meta.url)));

/// Paths at which `ours` and `theirs` differ.
function differences(ours, theirs, path = '') {
  if (path === '' && 'error' in ours !== 'error' in theirs) return [['answer', ours, theirs]];
  const isObject = (value) => typeof value === 'object' && value !== null;
  if (!isObject(ours) || !isObject(theirs)) {
    if (Object.is(ours, theirs) || VOLATILE.test(path.split('.').at(-1))) return [];
    return [[path, ours, theirs]];
  }
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)]);
  return [...keys].flatMap((key) => differences(ours[key], theirs[key], path ? `${path}.${key}` : key));
}

/// Hashes of blocks differ as their state roots do, so each is named by its height, and those of
/// sent transactions by their place in the list.
async function named(peer, hashes, value) {
  const top = Number(await peer.must('eth_blockNumber', []));
  for (let number = hashes.known ?? 0; number <= top; number++) {
    const block = await peer.must('eth_getBlockByNumber', [`0x${number.toString(16)}`, false]);
    hashes[block.hash] = `BLOCK${number}`;
  }
  const text = JSON.stringify(value) ?? 'null';
  return JSON.parse(text.replace(/0x[0-9a-f]{64}/g, (hash) => hashes[hash] ?? hash));
}

/// What four subscriptions are told of one transfer of the token, by kind.
async function subscriptions(peer) {
  const { default: WebSocket } = await load('ws');
  const socket = new WebSocket(peer.url.replace(/^http/, 'ws'));
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  const kinds = [['newHeads'], ['logs', {}], ['newPendingTransactions'], ['newPendingTransactions', true]];
  const [ids, notes] = [{}, {}];
  let heard;
  const all = new Promise((resolve) => (heard = resolve));
  socket.on('message', (text) => {
    const { id, result, params } = JSON.parse(text);
    if (id !== undefined) ids[result] = JSON.stringify(kinds[id]);
    else (notes[ids[params.subscription]] ??= []).push(params.result);
    if (Object.keys(notes).length === kinds.length) heard();
  });
  for (const [id, params] of kinds.entries()) {
    socket.send(JSON.stringify({ jsonrpc: '2.0', id, method: 'eth_subscribe', params }));
  }
  while (Object.keys(ids).length < kinds.length) await new Promise((resolve) => setTimeout(resolve, 10));
  await peer.must('anvil_dropAllTransactions', []);
  await peer.must('evm_setAutomine', [true]);
  await peer.must('anvil_setNextBlockBaseFeePerGas', ['0x3b9aca00']);
  await peer.must('evm_setNextBlockTimestamp', [1_900_000_000]);
  // LOG1 of a word with topic 7.
  const data = '0x600760205fa100';
  await peer.send({ from: ALICE, data, gas: '0x100000', ...FEES, nonce: undefined });
  await Promise.race([all, new Promise((resolve) => setTimeout(resolve, 3_000))]);
  socket.close();
  return notes;
}

function report(title, shown) {
  for (const [path, mine, peers] of differences(...shown)) {
    const line = `${title.slice(0, 200)} ${path}`;
    const known = DELIBERATE.find(({ at }) => new RegExp(at).test(`${title} ${path}`));
    if (known && !isAll) continue;
    count++;
    const why = known ? `\n    as ${known.because}` : '';
    console.log(`${line}\n    ours  ${show(mine)}\n    anvil ${show(peers)}${why}`);
  }
}

const show = (value) => {
  const text = JSON.stringify(value) ?? 'absent';
  return text.length > 160 ? `${text.slice(0, 160)}..` : text;
};

const [ours, theirs] = [new Peer(RPC_URL), new Peer(ANVIL_URL)];
const [made, madeThere] = [await setUp(ours), await setUp(theirs)];
const [list, listThere] = [calls(made), calls(madeThere)];
const [names, namesThere] = [{}, {}];
let count = 0;
const ask = async (peer, method, params) => {
  const filled = params.map((param) => (param instanceof Answer ? peer.answers[param.index] : param));
  const answer = await peer.ask(method, filled);
  peer.answers.push(answer.result);
  return answer;
};
for (const [index, { method, params }] of list.entries()) {
  const there = listThere[index].params;
  const answers = [await ask(ours, method, params), await ask(theirs, method, there)];
  if (method === 'eth_sendTransaction') {
    // Where no key signs, the signature and so the hash are made up.
    [names, namesThere].forEach((known, peer) => (known[answers[peer].result] = `TX${index}`));
  }
  const shown = [await named(ours, names, answers[0]), await named(theirs, namesThere, answers[1])];
  if (wanted.length && !wanted.includes(method)) continue;
  const title = `${method} ${JSON.stringify(await named(ours, names, params))}`;
  report(title, shown);
}
if (!wanted.length || wanted.includes('eth_subscribe')) {
  const notes = [await subscriptions(ours), await subscriptions(theirs)];
  report('eth_subscribe', [await named(ours, names, notes[0]), await named(theirs, namesThere, notes[1])]);
}
console.log(`${list.length} calls, ${count} differences printed`);
process.exit(0);
