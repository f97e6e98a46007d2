#include "services/rpc/channel.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstdlib>
#include <mutex>

#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

// gRPC 1.51 knows these by the environment only, and the environment may be written only while there is one thread.
// Both let a reader sleep until a whole HTTP/2 frame has come instead of waking it for every 64 KiB; a variable that is
// already set stays.
[[maybe_unused]] const int reads_whole_frames = setenv("GRPC_EXPERIMENTS", "tcp_rcv_lowat,tcp_frame_size_tuning", 0);

}  // namespace

void Tune(grpc::ChannelArguments& arguments) {
  // Messages of up to a few MiB: few HTTP/2 frames per message, windows above what is in flight, reads as large as a
  // batch. gRPC's bandwidth probe stays on: without it the window of the whole connection is 64 KiB, whatever that of
  // a stream is, and every message waits for a window update.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 4 << 20);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 20);
  arguments.SetInt(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, 4 << 20);
  arguments.SetInt(GRPC_ARG_TCP_READ_CHUNK_SIZE, 1 << 20);
  arguments.SetInt(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 4 << 20);
  // A peer that does not answer is given up after time + timeout; this also bounds how long a write can hang.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Retries are decided by the services, which know what may be repeated.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Workers are reached directly, whatever http_proxy says, each owner of channels over connections of its own.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
}

void KeepCallbackThreads() {
  static std::once_flag once;
  std::call_once(once, [] {
    // A channel that has started one callback call holds the threads; this one is never destroyed and never connects.
    grpc::ChannelArguments arguments;
    Tune(arguments);
    static auto* const forever = new std::shared_ptr<grpc::Channel>(
        grpc::CreateCustomChannel("127.0.0.1:0", grpc::InsecureChannelCredentials(), arguments));
    grpc::GenericStub stub(*forever);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
    const grpc::ByteBuffer request(nullptr, 0);
    grpc::ByteBuffer reply;
    absl::Notification done;
    stub.UnaryCall(&context, "/decant.v1.None/None", {}, &request, &reply, [&](const grpc::Status&) { done.Notify(); });
    done.WaitForNotification();
  });
}

Channels::Channels(size_t limit) : limit_(limit) {
  DECANT_CHECK(limit > 0);
  KeepCallbackThreads();
  TuneProcess();
}

std::shared_ptr<grpc::Channel> Channels::Get(const std::string& address) {
  std::shared_ptr<grpc::Channel> dropped;  // destroyed after the lock is gone
  absl::MutexLock lock(&mutex_);
  if (const auto found = by_address_.find(address); found != by_address_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return recent_.front().second;
  }
  if (recent_.size() == limit_) {
    dropped = std::move(recent_.back().second);
    by_address_.erase(recent_.back().first);
    recent_.pop_back();
  }
  grpc::ChannelArguments arguments;
  Tune(arguments);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  recent_.emplace_front(address, grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  by_address_[address] = recent_.begin();
  return recent_.front().second;
}

}  // namespace decant
