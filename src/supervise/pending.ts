export interface ApprovedModule {
  readonly name: string;
}
