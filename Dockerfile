# The image from scratch: one static binary. Without Docker: ./x image
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    clang gcc libbpf-dev libc6-dev linux-libc-dev musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN triple="$(uname -m)-unknown-linux-musl" \
 && rustup target add "$triple" \
 && export "CC_$(echo "$triple" | tr - _)=musl-gcc" \
 && cargo build --release --locked --package causeway-cli --target "$triple" \
 && cp "target/$triple/release/causeway" /causeway

FROM scratch
COPY --from=build /causeway /causeway
ENTRYPOINT ["/causeway"]
