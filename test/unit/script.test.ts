import { describe, expect, test } from "vitest";
import { definePart, defineScript } from "../../shared/redis/script.ts";
import { messageSize } from "../../shared/scripts/parts/message-size.lua.ts";
import { STREAM_DEFAULTS } from "../../shared/stream/settings.ts";

describe("a script", () => {
  const base = definePart(["base"], [], "base = 1");
  const left = definePart(["left"], [base], "left = base");
  const right = definePart(["right"], [base], "right = base");

  test("has each part once, behind all that it needs, whatever order it names them in", () => {
    const { source } = defineScript("diamond", [right, left, base], "return reply(left + right)");
    const places = ["base = 1", "right = base", "left = base", "return reply"].map((text) => source.indexOf(text));
    expect(places.every((place) => place > 0)).toBe(true);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(source.split("base = 1")).toHaveLength(2);
  });

  test("has another hash with every change of a part", () => {
    const changed = definePart(["base"], [], "base = 2");
    expect(defineScript("one", [base], "").sha1).not.toBe(defineScript("one", [changed], "").sha1);
  });

  test("sees of a part what it exports, and nothing else", () => {
    const part = definePart(["shown"], [], "local hidden = 1\nfunction shown() return hidden end");
    expect(part.source).toBe("local shown\ndo\nlocal hidden = 1\nfunction shown() return hidden end\nend");
  });

  test("takes the same largest message for granted as the settings do", () => {
    expect(messageSize.source).toContain(`DEFAULT_MAX_MESSAGE_BYTES = ${STREAM_DEFAULTS.maxMessageBytes}\n`);
  });
});
