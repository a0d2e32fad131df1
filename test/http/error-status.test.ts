import { expect } from 'chai';
import { SuError, type ErrorCode } from '../../src/lib/errors.js';
import { answerForError, ERROR_STATUS } from '../../src/lib/http/error-status.js';
import { startApp, type RunningApp } from '../support/scheduler-app.js';

describe('http/error-status', () => {
  let app: RunningApp;
  before(async () => {
    app = await startApp();
  });
  after(() => app.server.close(1000));

  const EXPECTED: Record<ErrorCode, number> = {
    'invalid-request': 400,
    'invalid-data-item': 400,
    'invalid-signature': 400,
    'not-enough-confirmations': 400,
    'refused-by-store': 400,
    'not-allowed': 403,
    'unknown-process': 404,
    'unknown-entry': 404,
    'unknown-transaction': 404,
    'unknown-route': 404,
    'method-not-allowed': 404,
    'request-timeout': 408,
    'duplicate-message': 409,
    'body-too-large': 413,
    'process-busy': 429,
    'owner-busy': 429,
    invariant: 500,
    'invalid-config': 500,
    'invalid-wallet': 500,
    'schema-damaged': 500,
    'folder-refused': 500,
    'folder-in-use': 500,
    'gateway-unavailable': 502,
    'scheduler-busy': 503,
    'store-unavailable': 503,
    'height-unavailable': 503,
    'not-ready': 503,
    interrupted: 503,
    'gateway-timeout': 504,
    'scheduler-unavailable': 502,
    'scheduler-timeout': 504,
  };

  it('maps every code', () => {
    expect(ERROR_STATUS).to.deep.equal(EXPECTED);
  });

  for (const [code, status] of Object.entries(EXPECTED) as [ErrorCode, number][]) {
    it(`answers ${code} with ${status}`, async () => {
      app.submit.answer = () => Promise.reject(new SuError(code, `a sentence about ${code}`));
      const response = await fetch(app.url, { method: 'POST', body: 'item' });
      expect(response.status).to.equal(status);
      expect(response.headers.get('content-type')).to.equal('application/json');
      const error = status === 500 ? 'internal error' : `a sentence about ${code}`;
      expect(await response.json()).to.deep.equal({ error });
      expect(response.headers.get('retry-after')).to.equal(
        status === 429 || status === 503 ? '1' : null,
      );
    });
  }

  it('tells the wait that the failure names, in whole seconds', () => {
    const busy = new SuError('process-busy', 'busy', { retryAfterSeconds: 2.2 });
    expect(answerForError(busy).retryAfterSeconds).to.equal(3);
    const soon = new SuError('not-ready', 'soon', { retryAfterSeconds: 0 });
    expect(answerForError(soon).retryAfterSeconds).to.equal(1);
  });

  it('shows nothing of an unknown failure to the client, and all of it to the log', async () => {
    const cause = new Error('relation "messages" does not exist');
    app.submit.answer = () => Promise.reject(new TypeError('DatabaseError(…)', { cause }));
    app.lines.length = 0;
    const response = await fetch(app.url, { method: 'POST', body: 'item' });
    expect([response.status, await response.text()]).to.deep.equal([
      500,
      '{"error":"internal error"}',
    ]);
    const line = app.lines.find((one) => one['event'] === 'request');
    expect(line).to.include({ level: 'error', status: 500, code: 'internal' });
    expect(JSON.stringify(line)).to.contain('DatabaseError').and.to.contain('does not exist');
  });

  it('survives what is not even an Error', async () => {
    // A library may throw anything.
    app.submit.answer = () => Promise.reject('text');
    const response = await fetch(app.url, { method: 'POST', body: 'item' });
    expect([response.status, await response.text()]).to.deep.equal([
      500,
      '{"error":"internal error"}',
    ]);
  });
});
