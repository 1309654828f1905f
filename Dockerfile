# The container that GitHub's runner starts for the action.
#
# It runs as root: the runner mounts the file commands, the workspace and HOME from its
# own user, and another user could not write a step's outputs.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY internal/sandbox/toolchain/pulumi internal/sandbox/toolchain/pulumi
# The pulumi command, of the version that internal/sandbox/toolchain pins too; without a
# version of its own it would call itself a development build.
RUN cd internal/sandbox/toolchain/pulumi \
 && go build -trimpath -ldflags '-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.253.0' \
      -o /out/pulumi github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/provision-tenant ./cmd/provision-tenant

# The provider comes from its vendor, of the version that the built-in program is written for.
FROM build AS plugins
RUN PULUMI_HOME=/plugins-home /out/pulumi plugin install resource hcloud 1.41.0

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/pulumi /out/provision-tenant /usr/local/bin/
COPY --from=plugins /plugins-home/plugins /opt/pulumi/plugins
# HOME is /github/home at run time, so that nothing below it is the image's.
ENV PULUMI_PLUGINS=/opt/pulumi/plugins PULUMI_VERSION=v3.253.0
ENTRYPOINT ["/usr/local/bin/provision-tenant"]
