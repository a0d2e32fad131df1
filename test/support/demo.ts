import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { ArweaveSigner, createData } from 'arbundles';

const USAGE = `Posts a signed process and a few messages to a running scheduler and shows the log they make.

  npm run demo [-- URL]

  URL   of the scheduler; http://127.0.0.1:9000 when it is left out

Start a scheduler first, in another terminal: npm start
`;
const TIMEOUT_MS = 15_000;
const GREETINGS = ['Hello', 'How are you?', 'Grüße aus der Ferne', 'Good bye'];

/** A failure that needs a sentence and no stack. */
class DemoFailure extends Error {}

interface Receipt {
  readonly id: string;
  readonly timestamp: number;
}

interface Assignment {
  readonly id: string;
  readonly tags: readonly { readonly name: string; readonly value: string }[];
}

interface Edge {
  readonly node: {
    readonly message: { readonly id: string; readonly data: string | null } | null;
    readonly assignment: Assignment | null;
  };
}

async function ask(url: string, options: RequestInit = {}): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new DemoFailure(
      `No scheduler answers at ${url}. Start one in another terminal: npm start`,
    );
  }
  const text = await response.text();
  if (!response.ok)
    throw new DemoFailure(`${url} answered ${response.status}: ${text.slice(0, 300)}`);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new DemoFailure(`${url} answered something else than JSON: is it a scheduler?`);
  }
}

interface Draft {
  readonly data: string;
  readonly tags: readonly { readonly name: string; readonly value: string }[];
  readonly target?: string;
}

async function sign(signer: InstanceType<typeof ArweaveSigner>, draft: Draft): Promise<Uint8Array> {
  const anchor = randomBytes(16).toString('hex');
  const tags = [
    { name: 'Data-Protocol', value: 'ao' },
    { name: 'Variant', value: 'ao.TN.1' },
    ...draft.tags,
  ];
  const options = { anchor, tags, ...(draft.target === undefined ? {} : { target: draft.target }) };
  const item = createData(draft.data, signer, options);
  await item.sign(signer);
  return item.getRaw();
}

async function post(base: string, body: Uint8Array): Promise<Receipt> {
  const headers = { 'content-type': 'application/octet-stream' };
  return (await ask(`${base}/`, {
    method: 'POST',
    headers,
    // A router's redirect sends it twice, and on Node 20 `fetch` can take bytes only once.
    body: new Blob([new Uint8Array(body)]),
  })) as Receipt;
}

async function demo(base: string): Promise<void> {
  const { address } = (await ask(`${base}/`)) as { address: string };
  print(`scheduler ${address} at ${base}`);
  print('making a wallet for you (RSA-4096) ...');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 });
  const jwk = privateKey.export({ format: 'jwk' });
  const signer = new ArweaveSigner(jwk as ConstructorParameters<typeof ArweaveSigner>[0]);

  const spawn = await sign(signer, {
    data: '1984',
    tags: [
      { name: 'Type', value: 'Process' },
      { name: 'Name', value: 'demo' },
      // Any 43 characters will do: the scheduler orders messages, a compute unit would load the module.
      { name: 'Module', value: randomBytes(32).toString('base64url') },
      { name: 'Scheduler', value: address },
    ],
  });
  const process = await post(base, spawn);
  print(`process   ${process.id}  scheduled at ${timeOf(process.timestamp)}`);
  for (const data of GREETINGS) {
    const tags = [
      { name: 'Type', value: 'Message' },
      { name: 'Action', value: 'Greet' },
    ];
    const receipt = await post(base, await sign(signer, { data, tags, target: process.id }));
    print(`message   ${receipt.id}  scheduled at ${timeOf(receipt.timestamp)}`);
  }
  await showLog(base, process.id);
}

async function showLog(base: string, processId: string): Promise<void> {
  const pageUrl = `${base}/${processId}?process-id=${processId}`;
  const page = (await ask(pageUrl)) as { edges: readonly Edge[] };
  print(`\nThe log of ${processId}:\n`);
  const rows = page.edges.map(({ node }) => [
    tagOf(node.assignment, 'Nonce'),
    node.assignment?.id ?? '-',
    node.message?.id ?? '-',
    node.message?.data ?? '',
  ]);
  printTable([['nonce', 'assignment', 'message', 'data'], ...rows]);
  print(`\nRead it yourself:\n\n  curl '${pageUrl}'\n`);
}

function tagOf(assignment: Assignment | null, name: string): string {
  return assignment?.tags.find((tag) => tag.name === name)?.value ?? '-';
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of rows) {
    print(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
  }
}

function timeOf(timestamp: number): string {
  return new Date(timestamp).toISOString();
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function readBase(args: readonly string[]): string {
  const [url = 'http://127.0.0.1:9000', ...more] = args;
  if (more.length > 0 || !/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new DemoFailure(`"${args.join(' ')}" is not one URL of a scheduler.\n\n${USAGE}`);
  }
  return url.replace(/\/+$/, '');
}

const args = process.argv.slice(2);
if (args.includes('--help') || args.includes('-h')) {
  print(USAGE);
} else {
  try {
    await demo(readBase(args));
  } catch (error) {
    process.stderr.write(`${error instanceof DemoFailure ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
