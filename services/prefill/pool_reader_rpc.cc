#include "services/prefill/pool_reader_rpc.h"

#include <grpcpp/client_context.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/rpc/log.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;  // as messages are: layers become usable one by one
// How long a pool whose memory could not be read is not asked again where its frames lie.
constexpr absl::Duration kAskAgain = absl::Seconds(30);
constexpr size_t kMostPools = 64;

}  // namespace

// Asks where the frames lie when the first ones are wanted, on the thread that wants them.
class PoolReader::Stream final : public ChunkStream {
 public:
  Stream(std::shared_ptr<PoolReader> reader, std::string pool, std::shared_ptr<grpc::Channel> channel,
         v1::FetchRequest request, absl::Time deadline, Send send)
      : reader_(std::move(reader)),
        pool_(std::move(pool)),
        channel_(std::move(channel)),
        request_(std::move(request)),
        send_(std::move(send)) {
    context_.set_deadline(ToGrpc(deadline));
  }

  absl::StatusOr<std::optional<Blob>> Next() override {
    if (!located_) {
      located_ = true;
      DECANT_RETURN_IF_ERROR(Locate());
    }
    if (sent_ != nullptr) return sent_->Next();
    if (next_ == places_.size()) return std::nullopt;
    const size_t first = next_;
    for (uint64_t bytes = 0; next_ < places_.size() && bytes < kPieceBytes; ++next_) bytes += places_[next_].bytes;
    DECANT_ASSIGN_OR_RETURN(
        Blob blob, region_->Copy(absl::MakeConstSpan(places_).subspan(first, next_ - first), *reader_->spare_));
    return blob;
  }
  void Cancel() override {
    context_.TryCancel();
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (sent_ != nullptr) sent_->Cancel();
  }
  std::string lost() const override { return sent_ != nullptr ? sent_->lost() : lost_; }

 private:
  absl::Status Locate() {
    v1::FramePlaces places;
    const absl::Status found = FromGrpc(v1::Pool::NewStub(channel_)->Locate(&context_, request_, &places));
    if (absl::IsFailedPrecondition(found) || absl::IsUnimplemented(found)) return SendInstead(found);
    DECANT_RETURN_IF_ERROR(found);
    auto region = reader_->memory_.Open(places.memory(), places.memory_id());
    if (!region.ok()) return SendInstead(region.status());
    if (places.bytes_size() != places.offset_size() || places.crc32c_size() != places.offset_size()) {
      return absl::DataLossError("the pool's FramePlaces contradict themselves");
    }
    region_ = *std::move(region);
    lost_ = places.lost();
    places_.reserve(static_cast<size_t>(places.offset_size()));
    for (int i = 0; i < places.offset_size(); ++i) {
      places_.push_back({places.offset(i), places.bytes(i), places.crc32c(i)});
    }
    return absl::OkStatus();
  }
  absl::Status SendInstead(const absl::Status& why) {
    reader_->SendFrom(pool_, why);
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return absl::CancelledError("the fetch was given up");
    sent_ = send_();
    return absl::OkStatus();
  }

  const std::shared_ptr<PoolReader> reader_;
  const std::string pool_;
  const std::shared_ptr<grpc::Channel> channel_;
  const v1::FetchRequest request_;
  const Send send_;
  grpc::ClientContext context_;
  bool located_ = false;
  std::shared_ptr<const MappedRegion> region_;
  std::vector<MappedRegion::Place> places_;
  size_t next_ = 0;
  std::string lost_;
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<ChunkStream> sent_;  // set once, under the mutex, by Next's thread
};

bool PoolReader::Reads(const std::string& pool) {
  absl::MutexLock lock(&mutex_);
  const auto found = sends_until_.find(pool);
  return found == sends_until_.end() || absl::Now() >= found->second;
}

void PoolReader::SendFrom(const std::string& pool, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (sends_until_.size() >= kMostPools) sends_until_.clear();
  const auto [place, is_new] = sends_until_.insert_or_assign(pool, absl::Now() + kAskAgain);
  if (is_new) Log(LogLevel::kInfo, absl::StrCat("frames of the pool at ", pool, " come over gRPC: ", why.message()));
}

std::unique_ptr<ChunkStream> PoolReader::Read(const std::string& pool, std::shared_ptr<grpc::Channel> channel,
                                              v1::FetchRequest request, absl::Time deadline, Send send) {
  return std::make_unique<Stream>(shared_from_this(), pool, std::move(channel), std::move(request), deadline,
                                  std::move(send));
}

}  // namespace decant
