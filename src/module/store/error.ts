/** The failure of the store, as its caller gets it. */

export class StoreError extends Error {
  readonly code: string;

  /** @param code one of those that contract.d.ts names */
  constructor(code: string, message: string) {
    super(message);
    this.name = "StoreError";
    this.code = String(code);
  }
}
