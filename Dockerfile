# syntax=docker/dockerfile:1

# Has a compiler: where no prebuilt RocksDB exists for the platform, the package builds its own.
FROM node:24-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json oclif.manifest.json ./
COPY src ./src
RUN npm ci && npm prune --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
ENV SU_DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json oclif.manifest.json README.md CHANGELOG.md LICENSE ./
COPY bin ./bin
COPY migrations ./migrations
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 9000
# A port other than 9000 wants its own check: docker run --health-cmd …
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT ?? 9000}/health`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Young objects are collected by the event loop's thread alone, and often: by default Node 24 lets them grow to 64 MB and divides a
# collection among threads, for each of which the event loop waits while signatures have all cores.
ENTRYPOINT ["node", "--max-semi-space-size=16", "--no-parallel-scavenge", "/app/bin/run.js"]
CMD ["serve", "su", "9000"]
