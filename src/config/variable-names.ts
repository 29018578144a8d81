/** Names of settings as names of environment variables: HRMR_MODULES_MAIL_API_KEY is `modules.mail.apiKey`. */

/** Begins each variable that sets a module's setting. */
export const MODULE_PREFIX = "HRMR_MODULES_";

/**
 * @param name of a module or of a key: "bot-gateway", "apiKey"
 * @returns its forms in a variable: BOT_GATEWAY; API_KEY and APIKEY
 */
function variableForms(name: string): string[] {
  const plain = name.replaceAll(/[^A-Za-z0-9]/g, "_");
  const apart = plain.replaceAll(/(?<=[a-z0-9])[A-Z]/g, "_$&");
  return [...new Set([apart.toUpperCase(), plain.toUpperCase()])];
}

/** Whether the variable is one of the module `name`: of whichever key. */
export function isOfModule(variable: string, name: string): boolean {
  return partsBehind(variable, name).length > 0;
}

/** Whether the variable stands for `modules.NAME.KEY`. */
export function isForKey(variable: string, name: string, key: string): boolean {
  const forms = variableForms(key);
  return partsBehind(variable, name).some((part) => forms.includes(part));
}

function partsBehind(variable: string, name: string): string[] {
  return variableForms(name).flatMap((form) => {
    const start = `${MODULE_PREFIX}${form}_`;
    return variable.startsWith(start) && variable.length > start.length ? [variable.slice(start.length)] : [];
  });
}

/** The variable for `modules.NAME.KEY`, for messages. */
export function variableFor(name: string, key: string): string {
  return `${MODULE_PREFIX}${variableForms(name)[0]}_${variableForms(key)[0]}`;
}

/** `text` parsed as JSON: `42`, `true`, `{"a": 1}`; the text itself if it is not JSON. For a module's own settings. */
export function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // No JSON: a plain text needs no quotes here.
    return text;
  }
}
