// decant's pool as a prefill worker uses it, with the worker's own client: a put is a Publish of one chunk, a get is a
// Fetch of one chunk under a lease that Plan gave for its whole chain. Both ends verify every checksum; the client ends
// with the frames in its own memory. Pool and client are on one host, so gets read the pool's memory.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "decant/v1/pool.grpc.pb.h"
#include "load_tests/peers/peer.h"
#include "services/prefill/pool_rpc.h"
#include "services/rpc/channel.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

void Check(const absl::Status& status) { DECANT_CHECK_MSG(status.ok(), "%s", status.ToString().c_str()); }

ServedModel ModelOf(int64_t value_bytes) {
  ServedModel model;
  model.geometry = GeometryOfValue(value_bytes);
  model.fingerprint = ModelOfValue(model.geometry);
  model.run_type = RunType::kBf16;
  model.name = "peers";
  return model;
}

class PoolPeer final : public PeerClient {
 public:
  PoolPeer(const std::string& address, int64_t value_bytes)
      : address_(address),
        model_(ModelOf(value_bytes)),
        client_(channels_, model_),
        stub_(v1::Pool::NewStub(channels_.Get(address))) {}

  void Put(const Value& value) override {
    Publication publication;
    publication.pool_address = address_;
    publication.profile = "full";
    publication.chunks.push_back({value.key, value.parent, value.first_token, kValueTokens});
    const char* at = value.bytes.data();
    for (size_t layer = 0; layer < value.frame_sizes.size(); ++layer) {
      const auto size = static_cast<int64_t>(value.frame_sizes[layer]);
      Publication::Layer& frames = publication.layers.emplace_back();
      frames.layer = static_cast<uint32_t>(layer);
      frames.frames.push_back(ConstMemoryRef{MemorySpace::kHost, at, size});
      frames.keep = std::shared_ptr<const void>(std::shared_ptr<void>(), at);  // lives until Publish returns
      at += size;
    }
    const absl::StatusOr<PublishCounts> counts = client_.Publish(publication, Soon());
    Check(counts.status());
    DECANT_CHECK_MSG(counts->stored == 1, "stored %d, known %d, refused %d", counts->stored, counts->known,
                     counts->refused);
  }

  void BeforeGets(const std::vector<Value>& chain) override {
    v1::PlanRequest request;
    *request.mutable_model() = ToProto(model_);
    for (const Value& value : chain) request.add_chunk_keys(DigestBytes(value.key));
    request.set_chunk_tokens(kValueTokens);
    request.set_prompt_tokens(static_cast<int32_t>(chain.size()) * kValueTokens + 1);
    request.set_max_tokens(1);
    request.add_candidates()->set_prefill("p");
    request.mutable_candidates(0)->mutable_prefill_load()->set_prefill_tokens_per_s(1);
    grpc::ClientContext context;
    context.set_deadline(ToGrpc(Soon()));
    v1::PlanReply reply;
    Check(FromGrpc(stub_->Plan(&context, request, &reply)));
    DECANT_CHECK_MSG(reply.lease() != 0 && reply.prefix_size() == static_cast<int>(chain.size()),
                     "a lease on %d of %zu chunks: %s", reply.prefix_size(), chain.size(), reply.miss_reason().c_str());
    FetchOrder& all = chains_[chain.front().key];
    all.pool_address = address_;
    all.lease = reply.lease();
    for (int i = 0; i < reply.prefix_size(); ++i) {
      const v1::PlannedChunk& planned = reply.prefix(i);
      FetchOrder& order = orders_[chain[static_cast<size_t>(i)].key];
      order.pool_address = address_;
      order.lease = reply.lease();
      order.chunks = {{*DigestFromBytes(planned.key(), "key"), planned.first_token(), planned.tokens(),
                       planned.profile(), *DigestFromBytes(planned.variant(), "variant"), planned.bytes()}};
      all.chunks.push_back(order.chunks.front());
    }
  }

  bool Get(const Value& value) override { return Brings(orders_[value.key], {&value, 1}); }
  bool GetChain(const std::vector<Value>& chain) override { return Brings(chains_[chain.front().key], chain); }

 private:
  // Frames come layer by layer, of each layer those of all values.
  bool Brings(const FetchOrder& order, absl::Span<const Value> values) {
    const auto stream = client_.Fetch(order, Soon());
    Check(stream.status());
    std::vector<size_t> taken(values.size());
    size_t next = 0;  // frame, in the order in which they come
    const size_t frames = values.size() * values.front().frame_sizes.size();
    while (true) {
      const auto piece = (*stream)->Next();
      Check(piece.status());
      if (!piece->has_value()) return next == frames;
      absl::string_view rest = (*piece)->view();
      for (; !rest.empty(); ++next) {
        if (next == frames) return false;
        const Value& value = values[next % values.size()];
        size_t& at = taken[next % values.size()];
        const size_t size = value.frame_sizes[next / values.size()];
        if (absl::string_view(value.bytes).substr(at, size) != rest.substr(0, size)) return false;
        at += size;
        rest.remove_prefix(std::min(size, rest.size()));
      }
    }
  }

  const std::string address_;
  const ServedModel model_;
  Channels channels_;  // of this client alone: a connection of its own
  PoolClient client_;
  const std::unique_ptr<v1::Pool::Stub> stub_;
  absl::flat_hash_map<Digest, FetchOrder> orders_;
  absl::flat_hash_map<Digest, FetchOrder> chains_;  // by their first key
};

}  // namespace

std::unique_ptr<PeerClient> ConnectPool(const std::string& address, int64_t value_bytes) {
  return std::make_unique<PoolPeer>(address, value_bytes);
}

}  // namespace decant
