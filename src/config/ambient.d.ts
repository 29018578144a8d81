/** Methods of Buffer that Bun and Node have, but their types lack. They are the fast ways between text and bytes. */
interface Buffer {
  latin1Slice(start?: number, end?: number): string;
  utf8Slice(start?: number, end?: number): string;
  latin1Write(text: string, offset?: number, length?: number): number;
  utf8Write(text: string, offset?: number, length?: number): number;
  ucs2Slice(start?: number, end?: number): string;
  ucs2Write(text: string, offset?: number, length?: number): number;
}

/** Files embedded with `{ type: "text" }`. */
declare module "*.svg" {
  const text: string;
  export default text;
}
declare module "*.css" {
  const text: string;
  export default text;
}
