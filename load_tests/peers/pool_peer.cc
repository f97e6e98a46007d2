// decant's pool as a worker uses it: a put is a Publish of one chunk, a get is a Fetch of one chunk under a lease that
// Plan gave for its whole chain. Both ends verify every checksum; the client ends with the frames in its own memory.
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "decant/v1/pool.grpc.pb.h"
#include "load_tests/peers/peer.h"
#include "services/rpc/channel.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

constexpr int64_t kMessageBytes = int64_t{1} << 20;  // as prefill workers publish

absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

std::string BytesOf(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

void Check(const absl::Status& status) { DECANT_CHECK_MSG(status.ok(), "%s", status.ToString().c_str()); }

class PoolPeer final : public PeerClient {
 public:
  PoolPeer(const std::string& address, int64_t value_bytes)
      : channel_(channels_.Get(address)), stub_(v1::Pool::NewStub(channel_)) {
    const Geometry geometry = GeometryOfValue(value_bytes);
    model_.set_fingerprint(BytesOf(ModelOfValue(geometry)));
    model_.mutable_geometry()->set_layers(geometry.layers);
    model_.mutable_geometry()->set_q_heads(geometry.q_heads);
    model_.mutable_geometry()->set_kv_heads(geometry.kv_heads);
    model_.mutable_geometry()->set_head_dim(geometry.head_dim);
    model_.set_run_type(v1::RUN_TYPE_BF16);
    model_.set_name("peers");
    landing_.resize(static_cast<size_t>(2 * value_bytes));
  }

  void Put(const Value& value) override {
    const auto upload = FrameUpload::Start(channel_, kPublishMethod, Soon());
    Check(upload->Write(SmallFrame(FrameKind::kOpen, OpenOf(value))));
    const char* at = value.bytes.data();
    uint64_t sequence = 0;
    FrameOut message;
    int64_t bytes = 0;
    const auto send = [&](uint32_t layer) {
      message.head = HeadOf(FrameKind::kPayload, sequence++, layer, message.parts);
      message.keep = std::shared_ptr<const void>(std::shared_ptr<void>(), at);  // lives until Finish
      Check(upload->Write(std::exchange(message, FrameOut())));
      bytes = 0;
    };
    for (size_t layer = 0; layer < value.frame_sizes.size(); ++layer) {
      const auto size = static_cast<int64_t>(value.frame_sizes[layer]);
      message.parts.push_back(ConstMemoryRef{MemorySpace::kHost, at, size});
      at += size;
      bytes += size;
      if (bytes >= kMessageBytes) send(static_cast<uint32_t>(layer));
    }
    if (!message.parts.empty()) send(static_cast<uint32_t>(value.frame_sizes.size()) - 1);
    const absl::StatusOr<std::string> answer = upload->Finish();
    Check(answer.status());
    v1::PublishReply reply;
    DECANT_CHECK(reply.ParseFromString(*answer));
    DECANT_CHECK_MSG(reply.stored() == 1, "stored %d, known %d, refused %d", reply.stored(), reply.known(),
                     reply.refused());
  }

  void BeforeGets(const std::vector<Value>& chain) override {
    v1::PlanRequest request;
    *request.mutable_model() = model_;
    for (const Value& value : chain) request.add_chunk_keys(BytesOf(value.key));
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
    for (int i = 0; i < reply.prefix_size(); ++i) {
      v1::FetchRequest fetch;
      fetch.set_lease(reply.lease());
      *fetch.mutable_model() = model_;
      *fetch.add_chunks() = reply.prefix(i);
      requests_[chain[static_cast<size_t>(i)].key] = fetch.SerializeAsString();
    }
  }

  bool Get(const Value& value) override {
    const auto download = FrameDownload::Start(channel_, kFetchMethod, requests_[value.key], Soon());
    size_t bytes = 0;
    while (true) {
      const auto message = download->Next();
      Check(message.status());
      if (!message->has_value()) break;
      const auto more = static_cast<size_t>((*message)->payload_bytes());
      if (bytes + more > landing_.size() || !(*message)->Land(landing_.data() + bytes).ok()) return false;
      bytes += more;
    }
    return bytes == value.bytes.size() && std::memcmp(landing_.data(), value.bytes.data(), bytes) == 0;
  }

 private:
  std::string OpenOf(const Value& value) const {
    v1::PublishOpen open;
    *open.mutable_model() = model_;
    open.set_profile("full");
    v1::PublishOpen::Chunk& chunk = *open.add_chunks();
    chunk.set_key(BytesOf(value.key));
    chunk.set_parent(BytesOf(value.parent));
    chunk.set_first_token(value.first_token);
    chunk.set_tokens(kValueTokens);
    return open.SerializeAsString();
  }

  Channels channels_;  // of this client alone: a connection of its own
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Pool::Stub> stub_;
  v1::ModelIdentity model_;
  absl::flat_hash_map<Digest, std::string> requests_;
  std::vector<char> landing_;
};

}  // namespace

std::unique_ptr<PeerClient> ConnectPool(const std::string& address, int64_t value_bytes) {
  return std::make_unique<PoolPeer>(address, value_bytes);
}

}  // namespace decant
