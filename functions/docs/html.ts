import { Buffer } from "node:buffer";

/** The look of the pages that the app itself serves, light and dark. */
export const STYLE = `
:root { color-scheme: light dark; --text: #1a1d22; --back: #fff; --line: #d8dce2; --soft: #f4f5f7; --dim: #5b6472;
  --link: #0b57b0; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7ec; --back: #15181d; --line: #363b44; --soft: #20242b; --dim: #9aa4b2; --link: #7db4f5; }
}
* { box-sizing: border-box; }
body { margin: 0; padding-bottom: 4rem; font: 1rem/1.55 system-ui, sans-serif; color: var(--text); background: var(--back); }
header, main { max-width: 52rem; padding: 0 1.25rem; overflow-wrap: break-word; }
nav { padding: 1rem 1.25rem; font-size: .85rem; background: var(--soft); }
nav ul { margin: 0; padding: 0; list-style: none; }
nav h2 { margin: 1rem 0 .2rem; font-size: .9rem; }
nav a { display: block; padding: .15rem 0; }
nav h2 a { color: inherit; }
nav b { font-size: .75em; color: var(--dim); }
a { color: var(--link); text-decoration: none; }
a:hover, p a { text-decoration: underline; }
h1 { margin: 1.25rem 0 .5rem; font-size: 1.8rem; line-height: 1.2; }
h2 { margin: 3rem 0 .5rem; font-size: 1.4rem; }
h3 { margin: 0; font-size: 1.05rem; line-height: 1.4; }
h3 a { color: inherit; }
h3 b { color: var(--link); }
article { margin-top: 1.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
section, article { scroll-margin-top: .5rem; }
code { font: .875em/1.5 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { padding: .7rem .9rem; font-size: .9rem; white-space: pre-wrap; background: var(--soft); border: 1px solid var(--line); border-radius: 6px; }
details { margin: 1rem 0; }
summary { font-size: .9rem; color: var(--dim); cursor: pointer; }
.sample { max-height: 24rem; overflow: auto; font: .8rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
table { width: 100%; margin: 1rem 0; border-collapse: collapse; table-layout: fixed; font-size: .9rem; }
th, td { padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word; }
th { font-weight: 400; }
th:first-child { width: 38%; }
thead th { padding-top: 0; font-size: .8rem; color: var(--dim); border-bottom-width: 2px; }
caption { padding: .25rem 0; text-align: left; font-weight: 600; }
th span, small { color: var(--dim); }
small { white-space: nowrap; }
@media (min-width: 64rem) {
  body { display: grid; grid-template: auto 1fr / 21rem 1fr; padding: 0; }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; grid-row: 1 / span 2; border-right: 1px solid var(--line); }
  header, main { padding: 0 3rem; }
  main { padding-bottom: 6rem; }
}
`;

/** An HTML page with the headers that it is served with. */
export interface Page {
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The headers of a page that has this style and nothing else: no script, and nothing that is loaded. */
export async function pageHeaders(): Promise<Readonly<Record<string, string>>> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(STYLE));
  const style = `'sha256-${Buffer.from(digest).toString("base64")}'`;
  return {
    "content-type": "text/html; charset=utf-8",
    // Another version may be deployed at any time.
    "cache-control": "public, max-age=300",
    "content-security-policy": `default-src 'none'; style-src ${style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}
