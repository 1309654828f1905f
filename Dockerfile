# The container that GitHub's runner starts for the action.
#
#   docker build .                              # the built-in program; no language runtime
#   docker build --build-arg RUNTIME=yaml .     # and programs in YAML
#   docker build --build-arg RUNTIME=nodejs .   # and programs in TypeScript or JavaScript
#
# It runs as root: the runner mounts the file commands, the workspace and HOME from its own
# user, with files that only that user and root can write, so that another user could not
# write a step's outputs.
#
# Nothing needs a shell to start. There is one all the same, for git: it starts ssh, and
# what serves a file:// repository, through it.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG DEBIAN_IMAGE=docker.io/library/debian:bookworm-slim
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
# Which programs of other people's can be run: none, yaml or nodejs.
ARG RUNTIME=none
# Where Hetzner's provider comes from: its vendor, or this repository's own (own), which
# takes the same programs and is for where only Go modules can be fetched.
ARG PROVIDER=vendor
# Files that are made here carry this time, so that the same sources make the same layers.
ARG SOURCE_DATE_EPOCH=1767225600
ARG PULUMI_VERSION=v3.253.0

# Everything of ours, and pulumi, is built by this. Neither a path nor a time nor a build id
# gets into a program, so that two builds of the same sources are the same bytes.
FROM ${GO_IMAGE} AS go
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -mod=readonly" GOTOOLCHAIN=local
WORKDIR /src

# The pulumi command, of the version that internal/sandbox/toolchain pins too; without a
# version of its own it would call itself a development build.
FROM go AS pulumi
ARG PULUMI_VERSION
ARG SOURCE_DATE_EPOCH
COPY internal/sandbox/toolchain/pulumi internal/sandbox/toolchain/pulumi
RUN cd internal/sandbox/toolchain/pulumi \
 && go build -ldflags "-s -w -buildid= -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${PULUMI_VERSION}" \
      -o /out/usr/local/bin/pulumi github.com/pulumi/pulumi/pkg/v3/cmd/pulumi \
 && find /out -exec touch --date=@${SOURCE_DATE_EPOCH} {} +

# The provider of the version that the built-in program is written for.
FROM pulumi AS provider-vendor
ARG SOURCE_DATE_EPOCH
RUN PULUMI_HOME=/home /out/usr/local/bin/pulumi plugin install resource hcloud 1.41.0 \
 && mkdir -p /provider/opt/pulumi/plugins/resource-hcloud-v1.41.0 \
 && cp /home/plugins/resource-hcloud-v1.41.0/pulumi-resource-hcloud /provider/opt/pulumi/plugins/resource-hcloud-v1.41.0/ \
 && find /provider -exec touch --date=@${SOURCE_DATE_EPOCH} {} +

FROM go AS provider-own
ARG SOURCE_DATE_EPOCH
COPY internal/sandbox/toolchain/plugins internal/sandbox/toolchain/plugins
RUN cd internal/sandbox/toolchain/plugins \
 && go build -ldflags "-s -w -buildid=" -o /provider/opt/pulumi/plugins/resource-hcloud-v1.41.0/ ./pulumi-resource-hcloud \
 && find /provider -exec touch --date=@${SOURCE_DATE_EPOCH} {} +

FROM provider-${PROVIDER} AS provider

FROM go AS program
ARG SOURCE_DATE_EPOCH
COPY go.mod go.sum ./
COPY cmd/provision-tenant cmd/provision-tenant
COPY internal internal
# The runner starts the post part by its own name; it is the same program.
RUN go build -ldflags "-s -w -buildid=" -o /out/usr/local/bin/provision-tenant ./cmd/provision-tenant \
 && ln -s provision-tenant /out/usr/local/bin/provision-tenant-post \
 && find /out -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

# git over https, ssh and file, with the libraries that it loads, and certificates: a
# twentieth of what Debian's packages hold. Which packages they are from stays known, for the
# list of what the image is made of and for scanners.
FROM ${DEBIAN_IMAGE} AS tools
ARG SOURCE_DATE_EPOCH
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/*
RUN set -e; \
    mkdir -p /rootfs/usr/lib64 /rootfs/root /rootfs/tmp /rootfs/etc/ssl/certs; \
    for dir in bin lib lib64; do ln -s usr/$dir /rootfs/$dir; done; \
    chmod 700 /rootfs/root; chmod 1777 /rootfs/tmp; \
    programs="/usr/bin/git /usr/bin/ssh /usr/bin/dash /usr/lib/git-core/git-remote-http"; \
    for file in $programs $(ldd $programs | grep -o '/[^: ]*\.so[^: ]*' | sort -u); do \
        case $file in /usr/*) to=/rootfs$file ;; *) to=/rootfs/usr$file ;; esac; \
        install -D "$file" "$to"; \
        { dpkg -S "$file" || dpkg -S "${file#/usr}" || dpkg -S "/usr$file"; } 2>/dev/null | cut -d: -f1 >> /tmp/owners; \
    done; \
    mkdir -p /rootfs/var/lib/dpkg/status.d; \
    for package in ca-certificates $(sort -u /tmp/owners); do dpkg -s $package > /rootfs/var/lib/dpkg/status.d/$package; done; \
    cp -L /etc/os-release /rootfs/etc/; \
    cd /rootfs/usr; \
    ln -s dash bin/sh; ln -s git bin/git-upload-pack; \
    ln -s git-remote-http lib/git-core/git-remote-https; ln -s ../../bin/git lib/git-core/git; \
    cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/; \
    echo root:x:0:0:root:/root:/bin/sh > /rootfs/etc/passwd; \
    echo root:x:0: > /rootfs/etc/group; \
    find /rootfs -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM scratch AS runtime-none
COPY --from=tools /rootfs/ /

FROM go AS yaml
ARG SOURCE_DATE_EPOCH
COPY internal/sandbox/toolchain/plugins internal/sandbox/toolchain/plugins
RUN cd internal/sandbox/toolchain/plugins \
 && go build -ldflags "-s -w -buildid=" -o /out/usr/local/bin/pulumi-language-yaml github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml \
 && find /out -exec touch --date=@${SOURCE_DATE_EPOCH} {} +

# A program in YAML that makes its resources with a compiler has that in a script, which wants
# the commands that scripts have: one megabyte of them.
FROM ${DEBIAN_IMAGE} AS commands
ARG SOURCE_DATE_EPOCH
RUN apt-get update \
 && apt-get install -y --no-install-recommends busybox-static \
 && rm -rf /var/lib/apt/lists/*
RUN set -e; \
    install -D /bin/busybox /out/usr/bin/busybox; \
    for name in $(busybox --list | grep -vx -e sh -e busybox); do ln -s busybox /out/usr/bin/$name; done; \
    find /out -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM runtime-none AS runtime-yaml
COPY --from=commands /out/ /
COPY --from=yaml /out/ /

# The language host for Node.js is no Go module; it comes from pulumi's own release, and is
# held to the checksums that stand beside it.
FROM ${DEBIAN_IMAGE} AS nodejs
ARG PULUMI_VERSION
ARG SOURCE_DATE_EPOCH
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/*
RUN set -e; \
    case $(dpkg --print-architecture) in amd64) arch=x64 ;; *) arch=arm64 ;; esac; \
    from=https://github.com/pulumi/pulumi/releases/download/${PULUMI_VERSION}; \
    archive=pulumi-${PULUMI_VERSION}-linux-$arch.tar.gz; \
    cd /tmp; \
    curl --fail --silent --show-error --location --remote-name "$from/$archive"; \
    curl --fail --silent --show-error --location "$from/pulumi-${PULUMI_VERSION#v}-checksums.txt" | grep " $archive\$" | sha256sum --check -; \
    mkdir -p /out/usr/local/bin; \
    tar --extract --gzip --file "$archive" --directory /out/usr/local/bin --strip-components 1 \
        pulumi/pulumi-language-nodejs pulumi/pulumi-resource-pulumi-nodejs; \
    find /out -exec touch --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${NODE_IMAGE} AS runtime-nodejs
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY --from=nodejs /out/ /

# What changes least comes first: the layers above one that changes need not be fetched again.
FROM runtime-${RUNTIME}
ARG PULUMI_VERSION
COPY --from=pulumi /out/ /
COPY --from=provider /provider/ /
COPY --from=program /out/ /
# HOME is /github/home at run time, so nothing below it is the image's. Each run has a
# PULUMI_HOME of its own, in which the plugins are found through PULUMI_PLUGINS; the one named
# here is for whoever starts pulumi by hand.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PULUMI_HOME=/opt/pulumi \
    PULUMI_PLUGINS=/opt/pulumi/plugins \
    PULUMI_VERSION=${PULUMI_VERSION} \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
LABEL org.opencontainers.image.source=https://github.com/pregoi/provision-tenant \
      org.opencontainers.image.title=provision-tenant \
      org.opencontainers.image.description="Turns one provisioning job into a tenant"
ENTRYPOINT ["/usr/local/bin/provision-tenant"]
