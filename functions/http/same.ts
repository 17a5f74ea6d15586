/** Whether two types are the same at every depth: same members, of same types, optional in both or in neither. */
export type Same<A, B> = Identical<Plain<A>, Plain<B>>;

/** Generic functions are assignable to each other only where what they ask of a type is identical, not just assignable. */
type Identical<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** The same type with every member readonly and every intersection made one, at every depth. */
type Plain<T> = T extends object ? { readonly [Name in keyof T]: Plain<T[Name]> } : T;

/** The paths of members in which two types differ, such as `.messages[].data`, for the compiler to show. */
export type Differences<A, B, Path extends string = ""> =
  Same<A, B> extends true ? never : OrElse<InnerDifferences<NonNullable<A>, NonNullable<B>, Path>, Path>;

type InnerDifferences<A, B, Path extends string> = [A, B] extends [readonly (infer ItemA)[], readonly (infer ItemB)[]]
  ? Differences<ItemA, ItemB, `${Path}[]`>
  : [A, B] extends [object, object]
    ? { [Name in keyof A | keyof B]: Differences<Member<A, Name>, Member<B, Name>, `${Path}.${Name & string}`> }[
        | keyof A
        | keyof B]
    : never;

type Member<T, Name> = Name extends keyof T ? T[Name] : never;
type OrElse<T, Else> = [T] extends [never] ? Else : T;
