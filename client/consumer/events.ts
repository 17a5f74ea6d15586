/** Tells listeners what happens. A listener that throws stops nothing: `error` listeners are told, if it was not one. */
export class Events<Values extends { readonly error: unknown }> {
  readonly #listeners: { [Name in keyof Values]?: Set<(value: Values[Name]) => void> } = {};

  /** @returns what takes the listener off again */
  on<Name extends keyof Values>(name: Name, listener: (value: Values[Name]) => void): () => void {
    const listeners = this.#listeners[name] ?? new Set<(value: Values[Name]) => void>();
    this.#listeners[name] = listeners;
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  emit<Name extends keyof Values>(name: Name, value: Values[Name]): void {
    for (const listener of this.#listeners[name] ?? []) {
      try {
        listener(value);
      } catch (error) {
        if (name !== "error") this.emit("error", error);
      }
    }
  }
}
