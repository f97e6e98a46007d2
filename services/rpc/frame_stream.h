// One-way streams of FrameMessages: Pool.Publish (client to server) and Pool.Fetch (server to client), both ends.
#ifndef DECANT_SERVICES_RPC_FRAME_STREAM_H_
#define DECANT_SERVICES_RPC_FRAME_STREAM_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/rpc/frame_message.h"

namespace decant {

inline constexpr char kPublishMethod[] = "/decant.v1.Pool/Publish";
inline constexpr char kFetchMethod[] = "/decant.v1.Pool/Fetch";

// ---- Server ends; for use in WithRawCallbackMethod_*.

// What one client streams to us. Calls come one after another on gRPC's threads and must not block for long. Destroyed
// when the call is over; a stream that broke is destroyed without OnEnd.
class FrameStreamReceiver {
 public:
  virtual ~FrameStreamReceiver() = default;
  // An error ends the call with it.
  virtual absl::Status OnMessage(const FrameIn& message) = 0;
  // The client has sent everything, KIND_COMMIT included (which OnMessage never sees): the serialised reply.
  virtual absl::StatusOr<std::string> OnEnd() = 0;
};
// `reply` is gRPC's.
grpc::ServerReadReactor<grpc::ByteBuffer>* ServeFrameUpload(grpc::ByteBuffer* reply,
                                                            std::unique_ptr<FrameStreamReceiver> receiver);

// What we stream to one client. Calls as above.
class FrameStreamSource {
 public:
  virtual ~FrameStreamSource() = default;
  // False when Next need not wait. Otherwise Next is not called before `ready`, which is then called once, from any
  // thread, and at last whatever happens: the call cannot end before.
  virtual bool Await(std::function<void()> ready) {
    (void)ready;
    return false;
  }
  // The next message, nothing at the end, or an error that ends the call.
  virtual absl::StatusOr<std::optional<FrameOut>> Next() = 0;
};
grpc::ServerWriteReactor<grpc::ByteBuffer>* ServeFrameDownload(std::unique_ptr<FrameStreamSource> source);

// The bytes of a raw request, for ParseFromString.
std::string ToString(const grpc::ByteBuffer& buffer);

// ---- Client ends: for the caller's own thread, not gRPC's. Not thread-safe; Cancel may come from any thread.

// Pool.Publish.
class FrameUpload {
 public:
  // Starts the call; at most `window` messages wait to be sent.
  static std::unique_ptr<FrameUpload> Start(std::shared_ptr<grpc::Channel> channel, const std::string& method,
                                            absl::Time deadline, int window = 4);
  ~FrameUpload();  // cancels unless Finish has returned, and waits for the end of the call

  // Waits while the window is full. An error is the end of the call: Finish gives the same.
  absl::Status Write(FrameOut message);
  // Ends the stream with KIND_COMMIT and waits for the serialised reply.
  absl::StatusOr<std::string> Finish();
  void Cancel();

 private:
  struct Reactor;
  explicit FrameUpload(std::shared_ptr<Reactor> reactor);
  std::shared_ptr<Reactor> reactor_;
};

// Pool.Fetch.
class FrameDownload {
 public:
  // Starts the call with a serialised request; at most `window` messages are read ahead.
  static std::unique_ptr<FrameDownload> Start(std::shared_ptr<grpc::Channel> channel, const std::string& method,
                                              absl::string_view request, absl::Time deadline, int window = 4);
  ~FrameDownload();  // cancels unless the end was read, and waits for the end of the call

  // The next message, nothing at the end, or why the call failed.
  absl::StatusOr<std::optional<FrameIn>> Next();
  void Cancel();

 private:
  struct Reactor;
  explicit FrameDownload(std::shared_ptr<Reactor> reactor);
  std::shared_ptr<Reactor> reactor_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_FRAME_STREAM_H_
