// What a script finds: geth's `log`, `db`, call frames, numbers and conversions. `host` has what is
// known outside (`host.rs`); bytes are Uint8Array, large numbers come as text.
(function (host) {
  "use strict";

  // Numbers of any size, with the methods of BigInteger.js, over the language's own.
  class Integer {
    constructor(value) {
      this.value = value;
    }
    toString(radix) {
      return this.value.toString(radix || 10);
    }
    toJSON() {
      return this.value.toString();
    }
    toJSNumber() {
      return Number(this.value);
    }
    valueOf() {
      return Number(this.value);
    }
    isZero() {
      return this.value === 0n;
    }
    isUnit() {
      return this.value === 1n || this.value === -1n;
    }
    isNegative() {
      return this.value < 0n;
    }
    isPositive() {
      return this.value > 0n;
    }
    isEven() {
      return (this.value & 1n) === 0n;
    }
    isOdd() {
      return (this.value & 1n) === 1n;
    }
    abs() {
      return new Integer(absolute(this.value));
    }
    negate() {
      return new Integer(-this.value);
    }
    square() {
      return new Integer(this.value * this.value);
    }
    next() {
      return new Integer(this.value + 1n);
    }
    prev() {
      return new Integer(this.value - 1n);
    }
    not() {
      return new Integer(~this.value);
    }
    bitLength() {
      const value = this.value < 0n ? -this.value - 1n : this.value;
      return new Integer(value === 0n ? 0n : BigInt(value.toString(2).length));
    }
    add(other) {
      return new Integer(this.value + native(other));
    }
    subtract(other) {
      return new Integer(this.value - native(other));
    }
    multiply(other) {
      return new Integer(this.value * native(other));
    }
    divide(other) {
      return new Integer(this.value / divisor(other));
    }
    mod(other) {
      return new Integer(this.value % divisor(other));
    }
    divmod(other) {
      return { quotient: this.divide(other), remainder: this.mod(other) };
    }
    pow(other) {
      const exponent = native(other);
      if (exponent < 0n) {
        return new Integer(this.isUnit() ? this.value ** -exponent : 0n);
      }
      return new Integer(this.value ** exponent);
    }
    modPow(power, modulus) {
      let [base, exponent, rest] = [this.value, native(power), 1n];
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
      return new Integer(this.value << native(other));
    }
    shiftRight(other) {
      return new Integer(this.value >> native(other));
    }
    and(other) {
      return new Integer(this.value & native(other));
    }
    or(other) {
      return new Integer(this.value | native(other));
    }
    xor(other) {
      return new Integer(this.value ^ native(other));
    }
    compare(other) {
      if (other === Infinity || other === -Infinity) {
        return other > 0 ? -1 : 1;
      }
      const value = native(other);
      return this.value < value ? -1 : this.value > value ? 1 : 0;
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
      return value !== 0n && this.value % value === 0n;
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

  function native(value) {
    if (value instanceof Integer) {
      return value.value;
    }
    if (typeof value === "object" && value !== null) {
      value = value.valueOf();
    }
    return BigInt(value);
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
    for (const digit of isNegative ? text.slice(1) : text) {
      const worth = parseInt(digit, 36);
      if (!(worth < radix)) {
        throw new Error(`${digit} is not a digit in base ${radix}`);
      }
      value = value * BigInt(radix) + BigInt(worth);
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

  const big = (text) => (text === undefined ? undefined : new Integer(BigInt(text)));
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
  // The same trace comes out the same each time.
  delete Math.random;

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

  // The script's hooks, for the host to call.
  return function (script, config) {
    const has = (name) =>
      script !== null && script !== undefined && typeof script[name] === "function";
    for (const name of ["result", "fault"]) {
      if (!has(name)) {
        throw new Error(`trace object must expose a function ${name}()`);
      }
    }
    if (has("enter") !== has("exit")) {
      throw new Error("trace object must expose either both or none of enter() and exit()");
    }
    if (has("setup")) {
      script.setup(config);
    }
    return {
      hasStep: has("step"),
      hasFrames: has("enter"),
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
