import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startSu } from '../support/su-process.js';
import { describeReplay } from './describe-replay.js';

describeReplay({
  name: 'the embedded store, through a router that carries requests',
  open: () =>
    Promise.resolve({
      env: (folder) => ({ SU_DATA_DIR: join(folder, 'data') }),
      close: () => Promise.resolve(),
    }),
  async front(server, folder, variables) {
    const listPath = join(folder, 'schedulers.json');
    await writeFile(listPath, JSON.stringify([{ url: server.url }]));
    return startSu({
      cwd: folder,
      mode: 'router',
      env: {
        ...variables,
        SU_DATA_DIR: join(folder, 'router'),
        SCHEDULER_LIST_PATH: listPath,
        ROUTER_FORWARD: 'proxy',
      },
    });
  },
});
