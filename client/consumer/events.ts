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
        const returned: unknown = listener(value);
        // Nobody would look at an async listener's promise, and Node ends a process for that.
        if (returned instanceof Promise) returned.catch((error) => this.#tell(name, error));
      } catch (error) {
        this.#tell(name, error);
      }
    }
  }

  #tell(name: keyof Values, error: unknown): void {
    if (name !== "error") this.emit("error", error);
  }
}
