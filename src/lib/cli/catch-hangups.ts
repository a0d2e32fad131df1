/** SIGHUP as "read your list again". */
export interface Hangups {
  /** Calls back for every signal from now on, and at once when there was one before. It must not reject. */
  follow(callback: () => Promise<void>): void;
}

/** From now on SIGHUP does not end the process, not even while it is still starting. */
export function catchHangups(): Hangups {
  let callback: (() => Promise<void>) | undefined;
  let wasAsked = false;
  process.on('SIGHUP', () => {
    if (callback === undefined) wasAsked = true;
    else void callback();
  });
  return {
    follow(next) {
      callback = next;
      if (wasAsked) void next();
    },
  };
}
