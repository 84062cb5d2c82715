#!/usr/bin/env bash
# cast and forge against RPC_URL: cast's reads and a send, `forge create` of Token.sol, its calls
# and its logs. Needs `scripts/peers`; compiles offline with npm's solc behind solc-shim.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${PEERS:-$here/../../target/peers}
url=${RPC_URL:-http://127.0.0.1:8545}
key=0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
alice=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
bob=0x70997970C51812dc3A010C7d01b50e0d17dc79C8

die() { echo "forge: $*" >&2; exit 1; }
equal() { [[ $1 == "$2" ]] || die "$3: found '$1', expected '$2'"; }
# A node that never answers must not hang the caller.
cast() { timeout 60 "$peers/bin/cast" "$@"; }

peers=$(cd "$peers" 2>/dev/null && pwd) || { echo 'forge: run scripts/peers' >&2; exit 2; }
[[ -x $peers/bin/forge && -x $peers/bin/cast ]] || { echo 'forge: run scripts/peers' >&2; exit 2; }

export FOUNDRY_DISABLE_NIGHTLY_WARNING=1
export ETH_RPC_URL=$url
equal "$(cast chain-id)" 31337 chain-id
before=$(cast block-number)
bob_before=$(cast balance "$bob")
status=$(cast send --private-key "$key" --value 1ether "$bob" --json | jq_field status)
