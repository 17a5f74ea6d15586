/** Whether there is such a day, `2024-02-29` say: Date.parse takes the 30th of February for the 1st of March. */
export function isDay(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}
