/**
 * Makes a value when it is first asked for, and keeps it. Schemas are made so: all of them at once would be a good part
 * of an isolate's cold start, and one that has a name in the API document must be made once only.
 */
export function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
