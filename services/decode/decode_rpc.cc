#include "services/decode/decode_rpc.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/rpc/reply.h"
#include "services/rpc/sampling_rpc.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

// Tokens that may wait for a slow reader before its sequence is given up.
constexpr size_t kReaderLag = 4096;
constexpr int32_t kLongestWaitMs = 300'000;

absl::StatusOr<Reservation> ReservationOf(const v1::ReserveRequest& request) {
  Reservation reservation;
  DECANT_ASSIGN_OR_RETURN(const ServedModel model, FromProto(request.model()));
  DECANT_ASSIGN_OR_RETURN(reservation.sampling, SamplingFrom(request.sampling()));
  reservation.model = model.fingerprint;
  reservation.run_type = model.run_type;
  reservation.profile = request.profile();
  DECANT_ASSIGN_OR_RETURN(reservation.profile_digest, DigestOrZero(request.profile_digest(), "the profile's digest"));
  reservation.prompt_tokens = request.prompt_tokens();
  reservation.max_tokens = request.max_tokens();
  reservation.end_tokens.assign(request.end_tokens().begin(), request.end_tokens().end());
  if (request.first_token_index() < 0 || request.wait_ms() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("first_token_index ", request.first_token_index(), " or wait_ms ",
                                                   request.wait_ms(), " is negative"));
  }
  reservation.first_token_index = request.first_token_index();
  reservation.wait = absl::Milliseconds(std::min(request.wait_ms(), kLongestWaitMs));
  return reservation;
}

v1::TokenEvent ToProto(const AnswerTokens& tokens) {
  v1::TokenEvent event;
  event.set_index(tokens.index);
  event.mutable_tokens()->Add(tokens.tokens.begin(), tokens.tokens.end());
  if (!tokens.last) return event;
  event.set_last(true);
  event.set_finish_reason(tokens.finish_reason);
  event.mutable_kv()->set_full(tokens.full_bytes);
  event.mutable_kv()->set_resident(tokens.resident_bytes);
  event.mutable_tiers()->set_high(tokens.counts.high);
  event.mutable_tiers()->set_low(tokens.counts.low);
  event.mutable_tiers()->set_pruned(tokens.counts.pruned);
  event.mutable_tiers()->set_demoted(tokens.counts.demoted);
  event.mutable_tiers()->set_dropped(tokens.counts.dropped);
  return event;
}

class TokenStream final : public AnswerReceiver {
 public:
  explicit TokenStream(std::shared_ptr<StreamAnswer<v1::TokenEvent>> answer) : answer_(std::move(answer)) {}
  absl::Status Write(const AnswerTokens& tokens) override { return answer_->Write(ToProto(tokens)); }
  void Finish(const absl::Status& end) override { answer_->Finish(end); }

 private:
  const std::shared_ptr<StreamAnswer<v1::TokenEvent>> answer_;
};

}  // namespace

grpc::ServerUnaryReactor* DecodeService::Reserve(grpc::CallbackServerContext* /*context*/,
                                                 const v1::ReserveRequest* request, v1::ReserveReply* reply) {
  auto answer = UnaryAnswer<v1::ReserveReply>::Create(reply);
  auto reservation = ReservationOf(*request);
  if (!reservation.ok()) {
    answer->Finish(reservation.status());
    return answer->reactor();
  }
  const uint64_t ticket = core_.Reserve(*std::move(reservation), [answer](absl::StatusOr<Ticket> granted) {
    if (!granted.ok()) return answer->Finish(granted.status());
    v1::ReserveReply message;
    message.set_ticket(granted->id);
    message.set_profile_digest(DigestBytes(granted->profile));
    message.set_pages(granted->pages);
    message.set_ticket_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(granted->limit)));
    answer->Finish(std::move(message));
  });
  // A ticket that was granted to a client that never learnt of it would hold its pages until its limit.
  answer->OnCancel([this, ticket] { core_.Release(ticket); });
  return answer->reactor();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* DecodeService::Transfer(
    grpc::CallbackServerContext* /*context*/) {
  return ServeTransfer(core_, transfers_);
}

grpc::ServerUnaryReactor* DecodeService::Connect(grpc::CallbackServerContext* /*context*/,
                                                 const v1::ConnectRequest* request, v1::ConnectReply* reply) {
  auto answer = UnaryAnswer<v1::ConnectReply>::Create(reply);
  answer->Finish(links_.Accept(*request));
  return answer->reactor();
}

grpc::ServerWriteReactor<v1::TokenEvent>* DecodeService::Tokens(grpc::CallbackServerContext* /*context*/,
                                                                const v1::TokensRequest* request) {
  auto answer = StreamAnswer<v1::TokenEvent>::Create(kReaderLag);
  const uint64_t ticket = request->ticket();
  const absl::Status subscribed = core_.Subscribe(ticket, std::make_shared<TokenStream>(answer));
  if (!subscribed.ok()) {
    answer->Finish(subscribed);
  } else {
    answer->OnCancel([this, ticket] { core_.Release(ticket); });
  }
  return answer->reactor();
}

grpc::ServerUnaryReactor* DecodeService::Release(grpc::CallbackServerContext* /*context*/,
                                                 const v1::ReleaseTicketRequest* request,
                                                 v1::ReleaseTicketReply* reply) {
  auto answer = UnaryAnswer<v1::ReleaseTicketReply>::Create(reply);
  core_.Release(request->ticket());
  answer->Finish(v1::ReleaseTicketReply());
  return answer->reactor();
}

}  // namespace decant
