/** @returns the result of `work`; throws `late` if it takes longer than `ms` */
export async function underDeadline<Value>(work: Promise<Value> | Value, ms: number, late: Error): Promise<Value> {
  const passed = Promise.withResolvers<never>();
  const timer = setTimeout(() => passed.reject(late), ms);
  try {
    return await Promise.race([work, passed.promise]);
  } finally {
    clearTimeout(timer);
  }
}
