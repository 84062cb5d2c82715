// Finds the client libraries: beside this file, in PEERS, or where `scripts/peers` installs them.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/// Imports package `name`, or says how to get it and ends with status 2.
export async function load(name) {
  const folders = [
    process.env.PEERS && `${process.env.PEERS}/`,
    new URL('../../target/peers/', import.meta.url).pathname,
    new URL('./', import.meta.url).pathname,
  ].filter(Boolean);
  for (const folder of folders) {
    let path;
    try {
      path = createRequire(`${folder}node_modules/`).resolve(name);
    } catch {
      continue;
    }
    const module = await import(pathToFileURL(path));
    return name === 'solc' ? module.default : module;
  }
  console.error(`${name} is not installed: run scripts/peers, or set PEERS to a folder with it`);
  process.exit(2);
}

/// The first two accounts of every devnet and the key of the first (mnemonic "test .. junk").
export const ALICE = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
export const ALICE_KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
export const BOB = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';

/// Where the node listens, for HTTP and for WebSocket.
export const RPC_URL = process.env.RPC_URL ?? 'http://127.0.0.1:8545';
export const WS_URL = RPC_URL.replace(/^http/, 'ws');

/// Runs the checks of script `name`: prints `ok NAME`, or what is wrong and ends with status 1.
export async function run(name, checks) {
  // A node that never answers must not hang the caller.
  const limit = setTimeout(() => {
    console.error(`${name}: no end after 60 s`);
    process.exit(1);
  }, 60_000);
  try {
    await checks();
  } catch (error) {
    console.error(`${name}: ${error.stack ?? error}`);
    process.exit(1);
  }
  clearTimeout(limit);
  console.log(`ok ${name}`);
  process.exit(0);
}
