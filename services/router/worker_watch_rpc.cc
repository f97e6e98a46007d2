#include "services/router/worker_watch_rpc.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "decant/v1/worker.grpc.pb.h"
#include "services/router/convert_rpc.h"
#include "services/rpc/candidate_rpc.h"

namespace decant {
namespace {

constexpr int32_t kMostDescribing = 64;
constexpr absl::Duration kDescribe = absl::Seconds(2);
// A watch has no natural end. The core notices a silent worker long before; this only keeps the wait bounded.
constexpr absl::Duration kWatch = absl::Hours(24);

}  // namespace

void WorkerWatch::Register(const std::string& address, WorkerFacts::Kind kind,
                           std::function<void(const absl::Status&)> done) {
  if (router_->knows(address)) {
    done(absl::OkStatus());
    return;
  }
  if (describing_ >= kMostDescribing) {
    done(absl::ResourceExhaustedError(absl::StrCat(describing_, " workers are being asked what they are; come again")));
    return;
  }
  ++describing_;
  const auto stub = v1::Worker::NewStub(channels_.Get(address));
  calls_.Unary(stub->async(), &v1::Worker::Stub::async::Describe, v1::DescribeRequest(), absl::Now() + kDescribe,
               [this, address, kind, done = std::move(done)](absl::StatusOr<v1::DescribeReply> reply) {
                 loop_.Post([this, address, kind, done, reply = std::move(reply)](absl::Time now) {
                   --describing_;
                   if (!reply.ok()) {
                     done(absl::Status(reply.status().code(), absl::StrCat("the router cannot reach the worker at ",
                                                                           address, ": ", reply.status().message())));
                     return;
                   }
                   absl::StatusOr<WorkerFacts> facts = FromProto(address, *reply);
                   done(facts.ok() ? Take(now, *facts, kind) : facts.status());
                 });
               });
}

absl::Status WorkerWatch::Take(absl::Time now, const WorkerFacts& facts, WorkerFacts::Kind announced) {
  if (facts.kind != announced) {
    return absl::InvalidArgumentError(
        absl::StrCat("the worker at ", facts.address, " registered as another kind than it describes"));
  }
  if (router_->knows(facts.address)) return absl::OkStatus();
  DECANT_RETURN_IF_ERROR(router_->WorkerRegistered(now, facts));
  Open(facts.address);
  return absl::OkStatus();
}

void WorkerWatch::Open(const std::string& address) {
  // A watch that is still open belongs to a worker that fell silent; its end must not count against this one.
  if (const auto old = watches_.find(address); old != watches_.end()) old->second.call.Cancel();
  const uint64_t number = ++watches_opened_;
  const auto stub = v1::Worker::NewStub(channels_.Get(address));
  watches_[address].number = number;
  watches_[address].call = calls_.Read(
      stub->async(), &v1::Worker::Stub::async::WatchLoad, v1::WatchLoadRequest(), absl::Now() + kWatch,
      [this, address, number](v1::Load load) {
        loop_.Post([this, address, number, load = FromProto(load)](absl::Time now) {
          const auto watch = watches_.find(address);
          if (watch != watches_.end() && watch->second.number == number) router_->LoadReported(now, address, load);
        });
      },
      [this, address, number](const absl::Status& status) {
        loop_.Post([this, address, number, status](absl::Time now) {
          const auto watch = watches_.find(address);
          if (watch == watches_.end() || watch->second.number != number) return;
          watches_.erase(watch);
          // A worker that drains ends its watch in good order and then what it runs.
          if (status.ok()) {
            router_->WorkerLeft(now, address);
          } else {
            router_->WorkerLost(now, address, status);
          }
        });
      });
}

}  // namespace decant
