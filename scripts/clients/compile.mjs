// Compiles Token.sol to token.json (abi and bytecode), which is committed so that the client
// scripts need no compiler. Run from anywhere after `scripts/peers`.
import { readFileSync, writeFileSync } from 'node:fs';
import { load } from './peers.mjs';

const here = (name) => new URL(name, import.meta.url);
const solc = await load('solc');
const input = {
  language: 'Solidity',
  sources: { 'Token.sol': { content: readFileSync(here('Token.sol'), 'utf8') } },
  settings: {
    evmVersion: 'shanghai',
    optimizer: { enabled: true, runs: 200 },
    // No hash of the source at the end: the bytecode then depends on the code alone.
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { 'Token.sol': { Token: ['abi', 'evm.bytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((error) => error.severity === 'error');
if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join('\n'));
const { abi, evm } = output.contracts['Token.sol'].Token;
const token = { compiler: solc.version(), bytecode: `0x${evm.bytecode.object}`, abi };
writeFileSync(here('token.json'), `${JSON.stringify(token, null, 1)}\n`);
