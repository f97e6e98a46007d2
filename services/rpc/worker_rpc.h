// The service every worker answers, and how it makes itself known to the router.
#ifndef DECANT_SERVICES_RPC_WORKER_RPC_H_
#define DECANT_SERVICES_RPC_WORKER_RPC_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"
#include "decant/v1/worker.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/reply.h"

namespace decant {

// A model as workers name it to each other.
struct ServedModel {
  Digest fingerprint;
  Geometry geometry;
  RunType run_type = RunType::kBf16;
  int32_t max_positions = 0;
  std::string name;
};
v1::ModelIdentity ToProto(const ServedModel& model);
// INVALID_ARGUMENT for a fingerprint that is not 32 bytes or an unspecified run type.
absl::StatusOr<ServedModel> FromProto(const v1::ModelIdentity& model);

// INVALID_ARGUMENT for anything but 32 bytes; `what` names the field.
absl::StatusOr<Digest> DigestFromBytes(absl::string_view bytes, absl::string_view what);
// The same; no bytes are zero.
absl::StatusOr<Digest> DigestOrZero(absl::string_view bytes, absl::string_view what);
std::string DigestBytes(const Digest& digest);

// Worker.Describe and Worker.WatchLoad.
class WorkerService final : public v1::Worker::CallbackService {
 public:
  // `load` is asked several times a second from a thread of its own.
  WorkerService(v1::DescribeReply description, std::function<v1::Load()> load);
  ~WorkerService() override;

  // Ends every watch after one last message, and refuses new ones: part of a drain.
  void Stop();

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context, const v1::DescribeRequest* request,
                                     v1::DescribeReply* reply) override;
  grpc::ServerWriteReactor<v1::Load>* WatchLoad(grpc::CallbackServerContext* context,
                                                const v1::WatchLoadRequest* request) override;

 private:
  void Loop();

  const v1::DescribeReply description_;
  const std::function<v1::Load()> load_;
  absl::Mutex mutex_;
  std::vector<std::shared_ptr<StreamAnswer<v1::Load>>> watchers_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Tells the router that a worker is there, again and again before the router forgets it, until destroyed.
class Registration {
 public:
  // `channels` must outlive it.
  Registration(Channels& channels, std::string router, std::string address, v1::WorkerKind kind);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  // OK once the router knows the worker; at the deadline, what the router last answered.
  absl::Status WaitRegistered(absl::Time deadline);

 private:
  void Loop();
  // How long to wait before the next time.
  absl::Duration RegisterOnce();

  Channels& channels_;
  const std::string router_;
  const std::string address_;
  const v1::WorkerKind kind_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool registered_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status last_ ABSL_GUARDED_BY(mutex_);  // of the last try
  std::thread thread_;
};

// This machine's name, which workers on one host share.
std::string HostName();
// This process's, which no other one has.
std::string ProcessName();

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_WORKER_RPC_H_
