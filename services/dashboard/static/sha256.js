// SHA-256 (FIPS 180-4) of bytes that come piece by piece: crypto.subtle takes whole files only, and over HTTPS only.
"use strict";

const Sha256 = (() => {
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) if (primes.every((p) => n % p)) primes.push(n);
  const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;
  const K = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)));
  const START = Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)));

  return class {
    constructor() {
      this.state = START.slice();
      this.held = new Uint8Array(64);
      this.heldCount = 0;
      this.byteCount = 0;
      this.words = new Int32Array(64);
    }

    update(bytes) {
      this.byteCount += bytes.length;
      let place = 0;
      while (place < bytes.length) {
        if (this.heldCount === 0 && bytes.length - place >= 64) {
          this.block(bytes, place);
          place += 64;
        } else {
          const taken = Math.min(64 - this.heldCount, bytes.length - place);
          this.held.set(bytes.subarray(place, place + taken), this.heldCount);
          this.heldCount += taken;
          place += taken;
          if (this.heldCount === 64) {
            this.block(this.held, 0);
            this.heldCount = 0;
          }
        }
      }
      return this;
    }

    digest() {
      const bitCount = this.byteCount * 8;
      const tail = new Uint8Array(((this.heldCount + 8) >> 6) * 64 + 64 - this.heldCount);
      tail[0] = 0x80;
      const view = new DataView(tail.buffer);
      view.setUint32(tail.length - 8, Math.floor(bitCount / 2 ** 32));
      view.setUint32(tail.length - 4, bitCount >>> 0);
      this.update(tail);
      const found = new Uint8Array(32);
      const out = new DataView(found.buffer);
      this.state.forEach((word, index) => out.setInt32(4 * index, word));
      return found;
    }

    block(bytes, place) {
      const w = this.words;
      for (let i = 0, at = place; i < 16; i += 1, at += 4) {
        w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
      }
      for (let i = 16; i < 64; i += 1) {
        const x = w[i - 15];
        const y = w[i - 2];
        const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
      }
      const state = this.state;
      let a = state[0];
      let b = state[1];
      let c = state[2];
      let d = state[3];
      let e = state[4];
      let f = state[5];
      let g = state[6];
      let h = state[7];
      for (let i = 0; i < 64; i += 1) {
        const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
        const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
        const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
        const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + t1) | 0;
        d = c;
        c = b;
        b = a;
        a = (t1 + t2) | 0;
      }
      state[0] = (state[0] + a) | 0;
      state[1] = (state[1] + b) | 0;
      state[2] = (state[2] + c) | 0;
      state[3] = (state[3] + d) | 0;
      state[4] = (state[4] + e) | 0;
      state[5] = (state[5] + f) | 0;
      state[6] = (state[6] + g) | 0;
      state[7] = (state[7] + h) | 0;
    }
  };
})();
