const PASSWORD_PARAMETERS = ['password', 'sslpassword', 'sslkey', 'passfile', 'token', 'key'];

/**
 * A URL fit to be shown: without the password it may hold, in its user part or in a parameter. Text that is no
 * URL is not shown at all, since nobody can say which part of it is the password.
 */
export function redactUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return '(not shown: it may hold a password)';
  }
  if (url.password !== '') url.password = '***';
  for (const name of PASSWORD_PARAMETERS) {
    if (url.searchParams.has(name)) url.searchParams.set(name, '***');
  }
  return url.toString();
}
