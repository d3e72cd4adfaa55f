const BYTES_FIRST = 16_384;
const VARINT_BYTES_MAX = 10;

/**
 * Writes protobuf into memory that is used again for every message: protobufjs allocates several objects per field.
 * `finish` gives the message in bytes of its own and begins the next.
 */
export class WireWriter {
  #bytes = Buffer.allocUnsafeSlow(BYTES_FIRST);
  #used = 0;

  finish(): Buffer {
    const message = Buffer.allocUnsafe(this.#used);
    this.#bytes.copy(message, 0, 0, this.#used);
    this.#used = 0;
    return message;
  }

  /** What was begun is forgotten: after an error. */
  reset(): void {
    this.#used = 0;
  }

  /** A whole number from 0 to 2^53. */
  integer(tag: number, value: number): void {
    this.#reserve(1 + VARINT_BYTES_MAX);
    this.#bytes[this.#used++] = tag;
    this.#varint(value);
  }

  float(tag: number, value: number): void {
    this.#reserve(5);
    this.#bytes[this.#used] = tag;
    this.#bytes.writeFloatLE(value, this.#used + 1);
    this.#used += 5;
  }

  text(tag: number, value: string): void {
    const { length } = value;
    this.#reserve(1 + VARINT_BYTES_MAX + length * 3);
    this.#bytes[this.#used++] = tag;
    // The length goes before bytes that are not counted yet: nearly all texts are one byte per character.
    const at = this.#used;
    this.#varint(length);
    const written = this.#bytes.write(value, this.#used, 'utf8');
    if (written === length) {
      this.#used += written;
      return;
    }
    this.#used = at;
    this.#varint(written);
    this.#used += this.#bytes.write(value, this.#used, 'utf8');
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** Begins a message within the message; the mark goes to `end`. */
  begin(tag: number): number {
    this.#reserve(2);
    this.#bytes[this.#used] = tag;
    this.#used += 2;
    return this.#used;
  }

  end(mark: number): void {
    const length = this.#used - mark;
    if (length < 0x80) {
      this.#bytes[mark - 1] = length;
      return;
    }
    const more = varintBytes(length) - 1;
    this.#reserve(more);
    this.#bytes.copyWithin(mark + more, mark, this.#used);
    this.#used = mark - 1;
    this.#varint(length);
    this.#used += length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#used++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#used++] = rest;
  }

  #reserve(more: number): void {
    if (this.#used + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow((this.#used + more) * 2);
    this.#bytes.copy(larger, 0, 0, this.#used);
    this.#bytes = larger;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}
