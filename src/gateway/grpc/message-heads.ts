/** One byte that says whether the message is compressed, four of its length. */
export const PREFIX_BYTES = 5;

/** Where one message of a stream ends and the next begins, piece by piece; of the messages themselves nothing is kept. */
export class MessageHeads {
  #prefixBytes = 0;
  #length = 0;
  #bytesLeft = 0;
  #ended = 0;

  /** Nothing of a message is on its way. */
  get isBetween(): boolean {
    return this.#prefixBytes === 0;
  }

  /** How many messages have ended. */
  get ended(): number {
    return this.#ended;
  }

  /** The length of the longest message whose head was in this piece; 0 without one. */
  read(piece: Uint8Array): number {
    let longest = 0;
    for (let at = 0; at < piece.length; ) {
      if (this.#prefixBytes < PREFIX_BYTES) {
        // The first byte is the flag.
        if (this.#prefixBytes > 0) this.#length = this.#length * 256 + (piece[at] as number);
        at++;
        if (++this.#prefixBytes < PREFIX_BYTES) continue;
        longest = Math.max(longest, this.#length);
        this.#bytesLeft = this.#length;
      } else {
        const taken = Math.min(this.#bytesLeft, piece.length - at);
        at += taken;
        this.#bytesLeft -= taken;
      }
      if (this.#bytesLeft > 0) continue;
      this.#prefixBytes = 0;
      this.#length = 0;
      this.#ended++;
    }
    return longest;
  }
}
