/** The completions that a shell may offer. Each shell's script is made from these tables. */

/** The values that a shell may offer. */
export type Offer =
  /** Offers nothing: any value is right. */
  | { readonly kind: "any" }
  | { readonly kind: "file" | "dir" }
  /** `isOpen`: the word continues, without a space. */
  | { readonly kind: "words"; readonly words: readonly string[]; readonly isOpen?: boolean }
  /** The modules of the running server. */
  | { readonly kind: "modules" };

export interface CompletionFlag {
  /** Without its dashes. */
  readonly name: string;
  /** One letter. */
  readonly short: string | null;
  readonly description: string;
  readonly canRepeat: boolean;
  /** null: it takes no value. */
  readonly value: Offer | null;
}

export interface CompletionCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly CompletionFlag[];
  readonly args: readonly (Offer & { readonly name: string; readonly canRepeat: boolean })[];
}
