/** Bun's llhttp binding, as far as it is used here. @types/node does not describe this module. */
declare module "node:_http_common" {
  export class HTTPParser {
    static readonly REQUEST: number;
    static readonly kOnMessageBegin: number;
    static readonly kOnHeaders: number;
    static readonly kOnHeadersComplete: number;
    static readonly kOnBody: number;
    static readonly kOnMessageComplete: number;
    /** Makes the parser new again, also after an error. */
    initialize(type: number, resource: object, maxHeaderBytes: number, lenientFlags: number): void;
    /** @returns the bytes consumed, or the error (it is not thrown) */
    execute(bytes: Buffer): number | (Error & { code: string; reason: string; bytesParsed: number });
    [callback: number]: ((...args: never[]) => unknown) | undefined;
  }
}
