// What a script finds: geth's `log`, `db`, call frames, numbers and conversions. `host` has what is
// known outside (`host.rs`); bytes are Uint8Array, large numbers come as text.
(function (host) {
  "use strict";

  // Natives go through as many places as an object says it has, and do not ask meanwhile whether
  // they may go on; nor does arithmetic. So the first are counted before they begin, and the second
  // is there for numbers of some thousand bits only.
  const { apply, ownKeys } = Reflect;
  const { isArray } = Array;
  const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf } = Object;
  const Native = BigInt;
  const BITS_MAX = 4096;
  const LARGEST = 1n << Native(BITS_MAX);

  // What is large is counted.
  function work(units) {
    if (units > 1000) {
      host.work(units);
    }
  }

  // A real array of what is like one, made place by place.
  function listed(like) {
    const list = [];
    const { length } = like;
    for (let nth = 0; nth < length; nth++) {
      list[nth] = like[nth];
    }
    return list;
  }

  // Puts `guarded(native)` in the place of each native method but some.
  function replace(prototype, kept, guarded) {
    for (const name of ownKeys(prototype)) {
      const property = getOwnPropertyDescriptor(prototype, name);
      const native = property.value;
      if (typeof name === "string" && typeof native === "function" && !kept.has(name)) {
        defineProperty(prototype, name, { ...property, value: guarded(native, name) });
      }
    }
  }

  function guardArrays() {
    const kept = new Set(["constructor", "at", "entries", "flat", "keys", "pop", "push", "values"]);
    const changing = new Set(["copyWithin", "fill", "reverse", "shift", "sort", "splice", "unshift"]);
    replace(Array.prototype, kept, (native, name) =>
      function (...given) {
        if (!isArray(this) && changing.has(name)) {
          throw new TypeError(`${name}: expected an array`);
        }
        const list = isArray(this) ? this : listed(this);
        let units = list.length;
        if (name === "concat") {
          for (let nth = 0; nth < given.length; nth++) {
            // What is no array is not spread, whatever it says.
            given[nth] = isArray(given[nth]) ? given[nth] : [given[nth]];
            units += given[nth].length;
          }
        }
        work(name === "sort" || name === "toSorted" ? 16 * units : units);
        return apply(native, list, given);
      });
    defineProperty(Array.prototype, "flat", {
      value: function flat(depth = 1) {
        const list = [];
        for (const item of this) {
          if (isArray(item) && depth >= 1) {
            for (const inner of item.flat(depth - 1)) {
              list[list.length] = inner;
            }
          } else {
            list[list.length] = item;
          }
        }
        return list;
      },
    });
    const { from } = Array;
    Array.from = function (like, ...given) {
      const isLike = like !== null && like !== undefined && like[Symbol.iterator] === undefined;
      return apply(from, this, [isLike ? listed(like) : like, ...given]);
    };
    const typed = getPrototypeOf(Uint8Array.prototype);
    const length = getOwnPropertyDescriptor(typed, "length").get;
    replace(typed, new Set(["constructor", "at", "entries", "keys", "subarray", "values"]), (native) =>
      function (...given) {
        work(apply(length, this, []));
        return apply(native, this, given);
      });
  }

  function guardText() {
    const searching =
      new Set(["includes", "indexOf", "lastIndexOf", "replace", "replaceAll", "split"]);
    const kept = new Set(["constructor", "at", "charAt", "charCodeAt", "codePointAt"]);
    replace(String.prototype, kept, (native, name) =>
      function (...given) {
        // As text, once: an object may say something else each time.
        const text = this === null || this === undefined ? this : String(this);
        if (searching.has(name) && Object(given[0]) === given[0] && !(given[0] instanceof RegExp)) {
          given[0] = String(given[0]);
        }
        const other = typeof given[0] === "string" ? given[0].length : 1;
        const length = text?.length ?? 0;
        work(searching.has(name) ? length * Math.max(other, 1) : length + other);
        return apply(native, text, given);
      });
    const { parse } = JSON;
    JSON.parse = (text, ...given) => {
      const read = String(text);
      work(read.length);
      return parse(read, ...given);
    };
  }

  // No way to native numbers of any size, nor to code that was not read before.
  function close() {
    const makers = [function () {}, function* () {}, async function () {}, async function* () {}];
    for (const prototype of makers.map(getPrototypeOf)) {
      // The engine has no asynchronous functions without promises.
      if (Object(prototype) === prototype) {
        defineProperty(prototype, "constructor", { value: undefined });
      }
    }
    delete DataView.prototype.getBigInt64;
    delete DataView.prototype.getBigUint64;
    delete String.raw;
    // The same trace comes out the same each time.
    delete Math.random;
    for (const name of ["BigInt", "BigInt64Array", "BigUint64Array", "Function", "eval"]) {
      delete globalThis[name];
    }
  }

  // Numbers of some thousand bits, with the methods of BigInteger.js.
  let valueOf;
  class Integer {
    #value;
    constructor(value) {
      if (value >= LARGEST || value <= -LARGEST) {
        throw new RangeError(`bigInt: expected a number of ${BITS_MAX} bits at most`);
      }
      this.#value = value;
    }
    // Not a method: a script would have the language's own number by it.
    static {
      valueOf = (value) => (#value in value ? value.#value : undefined);
    }
    toString(radix) {
      return this.#value.toString(radix || 10);
    }
    toJSON() {
      return this.#value.toString();
    }
    toJSNumber() {
      return Number(this.#value);
    }
    valueOf() {
      return Number(this.#value);
    }
    isZero() {
      return this.#value === 0n;
    }
    isUnit() {
      return this.#value === 1n || this.#value === -1n;
    }
    isNegative() {
      return this.#value < 0n;
    }
    isPositive() {
      return this.#value > 0n;
    }
    isEven() {
      return (this.#value & 1n) === 0n;
    }
    isOdd() {
      return (this.#value & 1n) === 1n;
    }
    abs() {
      return new Integer(absolute(this.#value));
    }
    negate() {
      return new Integer(-this.#value);
    }
    square() {
      return new Integer(this.#value * this.#value);
    }
    next() {
      return new Integer(this.#value + 1n);
    }
    prev() {
      return new Integer(this.#value - 1n);
    }
    not() {
      return new Integer(~this.#value);
    }
    bitLength() {
      const value = this.#value < 0n ? -this.#value - 1n : this.#value;
      return new Integer(value === 0n ? 0n : Native(value.toString(2).length));
    }
    add(other) {
      return new Integer(this.#value + native(other));
    }
    subtract(other) {
      return new Integer(this.#value - native(other));
    }
    multiply(other) {
      return new Integer(this.#value * native(other));
    }
    divide(other) {
      return new Integer(this.#value / divisor(other));
    }
    mod(other) {
      return new Integer(this.#value % divisor(other));
    }
    divmod(other) {
      return { quotient: this.divide(other), remainder: this.mod(other) };
    }
    pow(other) {
      const exponent = native(other);
      if (this.isUnit() || this.isZero()) {
        return exponent === 0n || (exponent & 1n) === 0n ? this.square() : this;
      }
      if (exponent < 0n) {
        return new Integer(0n);
      }
      return new Integer(this.#value ** within(exponent));
    }
    modInv(modulus) {
      const by = divisor(modulus);
      let [rest, next, factor, then] = [((this.#value % by) + by) % by, by, 1n, 0n];
      while (next !== 0n) {
        const quotient = rest / next;
        [rest, next] = [next, rest - quotient * next];
        [factor, then] = [then, factor - quotient * then];
      }
      if (rest !== 1n) {
        throw new Error(`${this} and ${by} are not co-prime`);
      }
      return new Integer(factor < 0n ? factor + absolute(by) : factor);
    }
    modPow(power, modulus) {
      let [base, exponent, rest] = [this.#value, native(power), 1n];
      const by = divisor(modulus);
      if (exponent < 0n) {
        throw new RangeError("modPow: expected an exponent that is not negative");
      }
      for (base %= by; exponent > 0n; exponent >>= 1n, base = (base * base) % by) {
        if (exponent & 1n) {
          rest = (rest * base) % by;
        }
      }
      return new Integer(rest % by);
    }
    shiftLeft(other) {
      return new Integer(this.#value << within(native(other)));
    }
    shiftRight(other) {
      return new Integer(this.#value >> within(native(other)));
    }
    and(other) {
      return new Integer(this.#value & native(other));
    }
    or(other) {
      return new Integer(this.#value | native(other));
    }
    xor(other) {
      return new Integer(this.#value ^ native(other));
    }
    compare(other) {
      if (other === Infinity || other === -Infinity) {
        return other > 0 ? -1 : 1;
      }
      const value = native(other);
      return this.#value < value ? -1 : this.#value > value ? 1 : 0;
    }
    compareAbs(other) {
      return this.abs().compare(absolute(native(other)));
    }
    equals(other) {
      return this.compare(other) === 0;
    }
    notEquals(other) {
      return this.compare(other) !== 0;
    }
    lesser(other) {
      return this.compare(other) < 0;
    }
    lesserOrEquals(other) {
      return this.compare(other) <= 0;
    }
    greater(other) {
      return this.compare(other) > 0;
    }
    greaterOrEquals(other) {
      return this.compare(other) >= 0;
    }
    isDivisibleBy(other) {
      const value = native(other);
      return value !== 0n && this.#value % value === 0n;
    }
  }
  const names = {
    plus: "add", minus: "subtract", times: "multiply", over: "divide", remainder: "mod",
    compareTo: "compare", eq: "equals", neq: "notEquals", lt: "lesser", leq: "lesserOrEquals",
    gt: "greater", geq: "greaterOrEquals",
  };
  for (const [name, same] of Object.entries(names)) {
    Integer.prototype[name] = Integer.prototype[same];
  }

  function absolute(value) {
    return value < 0n ? -value : value;
  }

  // A power or a shift by more is beyond the bound, unless it is by less than nothing.
  function within(bits) {
    return bits > 2n * Native(BITS_MAX) ? 2n * Native(BITS_MAX) : bits;
  }

  function native(value) {
    if (typeof value === "object" && value !== null) {
      const own = valueOf(value);
      if (own !== undefined) {
        return own;
      }
      value = value.valueOf();
    }
    if (typeof value === "string") {
      return decimal(value);
    }
    return Native(value);
  }

  // As BigInteger.js reads text: with a sign, a point or an exponent if a whole number comes out.
  function decimal(text) {
    const parts = /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]\+?([0-9]+))?$/.exec(text.trim());
    if (parts === null || text.length > BITS_MAX) {
      if (text.length <= BITS_MAX && /^0[xX][0-9a-fA-F]+$/.test(text)) {
        return Native(text);
      }
      throw new Error("Invalid integer: " + text.slice(0, 80));
    }
    const [, sign, whole, broken = "", exponent = "0"] = parts;
    const places = Number(exponent);
    const shown = broken.replace(/0+$/, "");
    if (shown.length > places || places > BITS_MAX) {
      throw new Error("Invalid integer: " + text.slice(0, 80));
    }
    const value = Native(whole + shown.padEnd(places, "0") || "0");
    return sign === "-" ? -value : value;
  }

  function divisor(value) {
    const by = native(value);
    if (by === 0n) {
      throw new Error("Cannot divide by zero");
    }
    return by;
  }

  function parsed(text, radix) {
    const isNegative = text.startsWith("-");
    let value = 0n;
    if (text.length > BITS_MAX) {
      throw new RangeError(`bigInt: expected ${BITS_MAX} digits at most`);
    }
    for (const digit of isNegative ? text.slice(1) : text) {
      const worth = parseInt(digit, 36);
      if (!(worth < radix)) {
        throw new Error(`${digit} is not a digit in base ${radix}`);
      }
      value = value * Native(radix) + Native(worth);
    }
    return isNegative ? -value : value;
  }

  function bigInt(value, base) {
    if (value === undefined) {
      return new Integer(0n);
    }
    const radix = base === undefined ? 10 : Number(base);
    return new Integer(radix === 10 ? native(value) : parsed(String(value), radix));
  }
  for (let nth = -999; nth <= 999; nth++) {
    bigInt[nth] = new Integer(Native(nth));
  }
  bigInt.fromArray = (digits, base = 10, isNegative = false) => {
    let value = bigInt(0);
    for (const digit of digits) {
      value = value.multiply(base).add(digit);
    }
    return isNegative ? value.negate() : value;
  };
  defineProperty(Integer.prototype, "constructor", { value: bigInt });
  bigInt.zero = new Integer(0n);
  bigInt.one = new Integer(1n);
  bigInt.minusOne = new Integer(-1n);
  bigInt.isInstance = (value) => value instanceof Integer;
  bigInt.max = (a, b) => (bigInt(a).compare(b) >= 0 ? bigInt(a) : bigInt(b));
  bigInt.min = (a, b) => (bigInt(a).compare(b) <= 0 ? bigInt(a) : bigInt(b));
  bigInt.gcd = (a, b) => {
    let [x, y] = [absolute(native(a)), absolute(native(b))];
    while (y !== 0n) {
      [x, y] = [y, x % y];
    }
    return new Integer(x);
  };
  bigInt.lcm = (a, b) => bigInt(a).abs().divide(bigInt.gcd(a, b)).multiply(bigInt(b).abs());

  const big = (text) => (text === undefined ? undefined : new Integer(Native(text)));
  const whole = (value) => Math.trunc(Number(value)) || 0;

  function unhex(text) {
    let digits = text.replace(/^0[xX]/, "");
    if (digits.length % 2 === 1) {
      digits = "0" + digits;
    }
    if (!/^[0-9a-fA-F]*$/.test(digits)) {
      throw new TypeError("invalid buffer: expected hex digits");
    }
    return Uint8Array.from({ length: digits.length / 2 }, (_, nth) =>
      parseInt(digits.slice(2 * nth, 2 * nth + 2), 16));
  }

  const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

  // Bytes as hex digits, which is how the host takes them.
  function hex(value) {
    let text = "0x";
    for (let nth = 0; nth < value.length; nth++) {
      text += DIGITS[value[nth]];
    }
    return text;
  }

  // Bytes of what a script takes for bytes.
  function bytes(value, isText) {
    if (value instanceof Uint8Array) {
      return value;
    }
    if (Array.isArray(value)) {
      return Uint8Array.from(value);
    }
    if (isText && (typeof value === "string" || value instanceof String)) {
      return unhex(String(value));
    }
    const text = isText ? ", or a string of hex digits" : "";
    throw new TypeError("invalid buffer type: expected a Uint8Array or an array" + text);
  }

  // The last `len` of them, with zeros before them where they are fewer.
  function fitted(value, len) {
    const fit = new Uint8Array(len);
    const last = value.subarray(Math.max(0, value.length - len));
    fit.set(last, len - last.length);
    return fit;
  }
  const address = (value, isText) => fitted(bytes(value, isText), 20);
  const word = (value, isText) => fitted(bytes(value, isText), 32);

  Object.assign(globalThis, {
    bigInt,
    toHex: (value) => hex(bytes(value, false)),
    toWord: (value) => word(value, true),
    toAddress: (value) => address(value, true),
    toContract: (from, nonce) => host.created(hex(address(from, true)), whole(nonce)),
    toContract2: (from, salt, code) =>
      host.created2(hex(address(from, true)), hex(word(String(salt), true)), hex(bytes(code, true))),
    isPrecompiled: (value) => host.isPrecompiled(hex(address(value, true))),
    slice: (value, start, end) => {
      const [from, [begin, over]] = [bytes(value, false), [whole(start), whole(end)]];
      if (begin < 0 || begin > over || over > from.length) {
        throw new RangeError("Tracer accessed out of bound memory: available " +
          `${from.length}, offset ${begin}, size ${over - begin}`);
      }
      return from.slice(begin, over);
    },
  });
  const now = {};
  const log = {
    op: {
      toNumber: () => now.op,
      toString: () => now.name,
      isPush: () => now.op >= 0x5f && now.op <= 0x7f,
    },
    stack: { peek: (nth) => big(host.peek(whole(nth))), length: () => host.stackLength() },
    memory: {
      slice: (begin, end) => host.memory(whole(begin), whole(end)),
      getUint: (at) => big(host.memoryWord(whole(at))),
      length: () => host.memoryLength(),
    },
    contract: {
      getCaller: () => host.caller(),
      getAddress: () => host.address(),
      getValue: () => big(host.value()),
      getInput: () => host.input(),
    },
    getPC: () => now.pc,
    getGas: () => now.gas,
    getCost: () => now.cost,
    getDepth: () => now.depth,
    getRefund: () => now.refund,
    getError: () => now.error,
  };
  const db = {
    getBalance: (of) => big(host.balance(hex(address(of, false)))),
    getNonce: (of) => host.nonce(hex(address(of, false))),
    getCode: (of) => host.code(hex(address(of, false))),
    getState: (of, key) => host.slot(hex(address(of, false)), hex(word(key, false))),
    exists: (of) => host.exists(hex(address(of, false))),
  };
  const entered = {};
  const frame = {
    getType: () => entered.type,
    getFrom: () => entered.from,
    getTo: () => entered.to,
    getInput: () => entered.input,
    getGas: () => entered.gas,
    getValue: () => entered.value,
  };
  const left = {};
  const frameResult = {
    getGasUsed: () => left.gasUsed,
    getOutput: () => left.output,
    getError: () => left.error,
  };

  guardArrays();
  guardText();
  close();

  // The script's hooks, for the host to call.
  return function (script) {
    const has = (name) =>
      script !== null && script !== undefined && typeof script[name] === "function";
    for (const name of ["result", "fault"]) {
      if (!has(name)) {
        throw `trace object must expose a function ${name}()`;
      }
    }
    if (has("enter") !== has("exit")) {
      throw "trace object must expose either both or none of enter() and exit()";
    }
    return {
      hasSetup: has("setup"),
      hasStep: has("step"),
      hasFrames: has("enter"),
      setup: (config) => {
        script.setup(config);
      },
      step: (op, name, pc, gas, cost, depth, refund, error) => {
        Object.assign(now, { op, name, pc, gas, cost, depth, refund, error });
        script.step(log, db);
      },
      fault: (op, name, pc, gas, cost, depth, refund, error) => {
        Object.assign(now, { op, name, pc, gas, cost, depth, refund, error });
        script.fault(log, db);
      },
      enter: (type, from, to, input, gas, value) => {
        Object.assign(entered, { type, from, to, input, gas, value: big(value) });
        script.enter(frame);
      },
      exit: (gasUsed, output, error) => {
        Object.assign(left, { gasUsed, output, error });
        script.exit(frameResult);
      },
      result: (ctx) => {
        ctx.value = big(ctx.value);
        ctx.gasPrice = big(ctx.gasPrice);
        return JSON.stringify(script.result(ctx, db));
      },
    };
  };
})
