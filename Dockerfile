# hrmr in a container. docs/systemd.md tells how to run it.
#
#   docker build --build-arg GIT_COMMIT=$(git rev-parse --short=12 HEAD) -t hrmr .
#   docker run --rm -p 8080:8080 -v ./hub:/srv/hub:ro hrmr

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
# Bun itself comes from npm, in the version that the tests ran with.
RUN npm ci
COPY . .
# The history is not copied: `hrmr version --verbose` tells the commit by this.
ARG GIT_COMMIT=
RUN npm run build
# Neither the image below nor its user can make folders of their own.
RUN mkdir -p /empty/hub && mkdir -m 700 /empty/state

# glibc and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/dist/hrmr /usr/local/bin/hrmr
COPY --from=build --chown=nonroot:nonroot /empty/hub /srv/hub
COPY --from=build --chown=nonroot:nonroot /empty/state /var/lib/hrmr

# The default, 127.0.0.1, is reached from inside the container only.
ENV HRMR_HOST=0.0.0.0
ENV HRMR_STATE_DIR=/var/lib/hrmr
ENV HRMR_DATA_DIR=/var/lib/hrmr/data
WORKDIR /srv/hub
VOLUME /var/lib/hrmr
USER nonroot
EXPOSE 8080

# It finishes what is under way: give it more than timeouts.drainMs, 30 s by default (docker stop --time 45).
STOPSIGNAL SIGTERM
# By the control socket in the state folder: exit code 1 when nobody answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/hrmr", "status"]
ENTRYPOINT ["/usr/local/bin/hrmr"]
CMD ["start"]
