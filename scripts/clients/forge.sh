#!/usr/bin/env bash
# cast and forge against RPC_URL: a send and reads by cast, `forge create` of Token.sol, a token
# transfer, its logs, a revert. Needs `scripts/peers`; forge compiles offline with npm's solc.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=$(cd "${PEERS:-$here/../../target/peers}" 2>/dev/null && pwd) || peers=
if [[ ! -x $peers/bin/forge || ! -x $peers/bin/cast ]]; then
    echo 'forge and cast are not installed: run scripts/peers' >&2
    exit 2
fi

export ETH_RPC_URL=${RPC_URL:-http://127.0.0.1:8545}
export FOUNDRY_DISABLE_NIGHTLY_WARNING=1
key=0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
alice=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
bob=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
limit_s=60 # a node that never answers must not hang the caller

die() { echo "forge: $*" >&2; exit 1; }
equal() { [[ $1 == "$2" ]] || die "$3: found '$1', expected '$2'"; }
cast() { timeout "$limit_s" "$peers/bin/cast" "$@"; }
field() { node -pe "JSON.parse(require('fs').readFileSync(0, 'utf8'))$1"; }

# A project of its own, so that forge finds no configuration above it.
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
mkdir "$project/src"
cp "$here/Token.sol" "$project/src/"
printf '[profile.default]\nsolc = "%s"\noffline = true\nevm_version = "shanghai"\n' \
    "$here/solc-shim" > "$project/foundry.toml"
export PEERS=$peers # where solc-shim finds npm's solc

equal "$(cast chain-id)" 31337 'chain id'
[[ $(cast block-number) =~ ^[0-9]+$ ]] || die 'block-number is not a number'
before=$(cast balance "$bob")
status=$(cast send --json --private-key "$key" --value 1ether "$bob" | field .status)
equal "$status" 0x1 'status of the send'
paid=$(node -pe "BigInt('$(cast balance "$bob")') - BigInt('$before')")
equal "$paid" 1000000000000000000n "what bob got"

created=$(cd "$project" && timeout "$limit_s" "$peers/bin/forge" create src/Token.sol:Token \
    --broadcast --json --private-key "$key" --constructor-args 1000)
token=$(field .deployedTo <<< "$created")
equal "$(cast call "$token" 'symbol()(string)')" '"KEEL"' symbol
equal "$(cast call "$token" 'balanceOf(address)(uint256)' "$alice")" 1000 'balance of alice'

sent=$(cast send --json --private-key "$key" "$token" 'transfer(address,uint256)' "$bob" 25)
equal "$(field .status <<< "$sent")" 0x1 'status of the token transfer'
equal "$(cast call "$token" 'balanceOf(address)(uint256)' "$bob")" 25 'balance of bob'
logs=$(cast logs --json --from-block 0 --address "$token" \
    'Transfer(address indexed,address indexed,uint256)')
equal "$(field .length <<< "$logs")" 2 'number of logs'
equal "$(field '[1].transactionHash' <<< "$logs")" "$(field .transactionHash <<< "$sent")" log

reverted=$(cast call --from "$alice" "$token" 'transfer(address,uint256)' "$bob" 976 2>&1) &&
    die 'a transfer of more than the balance did not revert'
[[ $reverted == *revert* ]] || die "the revert is not called one: $reverted"
echo 'ok forge'
