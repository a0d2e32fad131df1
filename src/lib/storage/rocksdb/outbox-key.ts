/** Digits that hold every safe integer, so that keys sort as their numbers. */
const DIGITS = 16;

/** An outbox row's sequence number as the key that ports speak of. */
export function formatOutboxKey(sequence: number): string {
  return String(sequence).padStart(DIGITS, '0');
}

/** The sequence number of a key; undefined for a text that is no key, since keys are typed by operators too. */
export function parseOutboxKey(key: string): number | undefined {
  if (!/^\d{16}$/.test(key)) return undefined;
  const sequence = Number(key);
  return Number.isSafeInteger(sequence) ? sequence : undefined;
}
