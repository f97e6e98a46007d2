#include "services/router/world_rpc.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "decant/v1/decode.grpc.pb.h"
#include "decant/v1/pool.grpc.pb.h"
#include "decant/v1/prefill.grpc.pb.h"
#include "services/router/convert_rpc.h"
#include "services/rpc/log.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

// For words that nobody waits for: what is not given back expires by itself.
constexpr absl::Duration kCourtesy = absl::Seconds(2);

// A reply that can't be read is as good as none.
absl::StatusOr<PlanAnswer> AnswerOf(const absl::StatusOr<v1::PlanReply>& reply) {
  if (!reply.ok()) return reply.status();
  absl::StatusOr<PlanAnswer> answer = FromProto(*reply);
  if (!answer.ok()) return absl::DataLossError(answer.status().message());
  return answer;
}

absl::StatusOr<ReserveAnswer> AnswerOf(const absl::StatusOr<v1::ReserveReply>& reply) {
  if (!reply.ok()) return reply.status();
  const auto profile = DigestOrZero(reply->profile_digest(), "the digest of a reserved profile");
  if (!profile.ok()) return absl::DataLossError(profile.status().message());
  return ReserveAnswer{reply->ticket(), reply->pages(), *profile};
}

absl::StatusOr<PrefillAnswer> AnswerOf(const absl::StatusOr<v1::PrefillReply>& reply) {
  if (!reply.ok()) return reply.status();
  return FromProto(*reply);
}

}  // namespace

void RpcWorld::AddClient(RequestNumber request, std::shared_ptr<ClientStream> stream, std::function<void()> ended) {
  clients_[request] = Client{std::move(stream), std::move(ended)};
}

void RpcWorld::SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration limit) {
  const std::string pool = shards_.Of(query.chunk_keys);
  if (pool.empty()) {
    loop_.Post([this, attempt](absl::Time now) {
      router_->Planned(now, attempt, absl::UnavailableError("the pool's name has no address now"));
    });
    return;
  }
  Planning planning{attempt, ToProto(model_, query), {pool}, absl::Now() + limit};
  if (std::string before = shards_.OfShorter(query.chunk_keys); !before.empty()) {
    planning.pools.push_back(std::move(before));
  }
  AskPlan(planning, 0, absl::UnknownError("not asked"));
}

void RpcWorld::AskPlan(const Planning& planning, size_t which, const absl::StatusOr<PlanAnswer>& before) {
  const auto stub = v1::Pool::NewStub(channels_.Get(planning.pools[which]));
  calls_.Unary(stub->async(), &v1::Pool::Stub::async::Plan, planning.request, planning.deadline,
               [this, planning, which, before](absl::StatusOr<v1::PlanReply> reply) {
                 loop_.Post([this, planning, which, before, answer = AnswerOf(reply)](absl::Time now) {
                   SeePool(planning.pools[which], answer.status());
                   const bool finds = answer.ok() && !answer->prefix.empty();
                   if (!finds && which + 1 < planning.pools.size()) return AskPlan(planning, which + 1, answer);
                   if (finds || !before.ok()) return Planned(now, planning, which, answer);
                   Planned(now, planning, which - 1, before);
                 });
               });
}

void RpcWorld::Planned(absl::Time now, const Planning& planning, size_t which, absl::StatusOr<PlanAnswer> answer) {
  if (answer.ok()) answer->lease = shards_.Name(planning.pools[which], planning.request.tenant(), answer->lease);
  router_->Planned(now, planning.attempt, std::move(answer));
}

void RpcWorld::NoteWorkerCame(absl::string_view address) {
  Log(LogLevel::kInfo, absl::StrCat("worker ", address, " registered"));
}

void RpcWorld::NoteWorkerGone(absl::string_view address, const absl::Status& why) {
  if (why.ok()) {
    Log(LogLevel::kInfo, absl::StrCat("worker ", address, " left"));
  } else {
    Log(LogLevel::kWarning, absl::StrCat("worker ", address, " was lost: ", why.message()));
  }
}

void RpcWorld::SeePool(const std::string& pool, const absl::Status& answered) {
  if (absl::IsCancelled(answered)) return;
  const bool there = !absl::IsUnavailable(answered) && !absl::IsDeadlineExceeded(answered);
  if (there && pools_lost_.erase(pool) > 0) {
    Log(LogLevel::kInfo, absl::StrCat("the pool at ", pool, " is back"));
  } else if (!there && pools_lost_.insert(pool).second) {
    Log(LogLevel::kWarning, absl::StrCat("the pool at ", pool, " is lost: ", answered.message()));
  }
}

void RpcWorld::SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query,
                           absl::Duration limit) {
  const auto stub = v1::Decode::NewStub(channels_.Get(decode));
  reserves_[attempt] =
      calls_.Unary(stub->async(), &v1::Decode::Stub::async::Reserve, ToProto(model_, query), absl::Now() + limit,
                   [this, attempt, decode](absl::StatusOr<v1::ReserveReply> reply) {
                     loop_.Post([this, attempt, decode, answer = AnswerOf(reply)](absl::Time now) {
                       reserves_.erase(attempt);
                       router_->Reserved(now, attempt, decode, answer);
                     });
                   });
}

void RpcWorld::SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order,
                           absl::Duration limit) {
  const auto stub = v1::Prefill::NewStub(channels_.Get(prefill));
  const std::optional<PoolShards::Lease> lease = shards_.Find(order.lease);
  v1::PrefillRequest request = ToProto(model_, order, lease.has_value() ? lease->pool : shards_.Of(order.chunk_keys));
  request.set_lease(lease.has_value() ? lease->lease : 0);
  prefills_[attempt] = calls_.Unary(stub->async(), &v1::Prefill::Stub::async::Prefill, request, absl::Now() + limit,
                                    [this, attempt](absl::StatusOr<v1::PrefillReply> reply) {
                                      loop_.Post([this, attempt, answer = AnswerOf(reply)](absl::Time now) {
                                        prefills_.erase(attempt);
                                        router_->Prefilled(now, attempt, answer);
                                      });
                                    });
}

void RpcWorld::OpenTokens(AttemptId attempt, const std::string& decode, uint64_t ticket, absl::Duration limit) {
  const auto stub = v1::Decode::NewStub(channels_.Get(decode));
  v1::TokensRequest request;
  request.set_ticket(ticket);
  tokens_[attempt] = calls_.Read(
      stub->async(), &v1::Decode::Stub::async::Tokens, request, absl::Now() + limit,
      [this, attempt](v1::TokenEvent event) {
        loop_.Post([this, attempt, batch = FromProto(event)](absl::Time now) { router_->Tokens(now, attempt, batch); });
      },
      [this, attempt](const absl::Status& status) {
        loop_.Post([this, attempt, status](absl::Time now) {
          tokens_.erase(attempt);
          router_->TokensEnded(now, attempt, status);
        });
      });
}

void RpcWorld::Cancel(OpenCalls& open, AttemptId attempt) {
  if (const auto it = open.find(attempt); it != open.end()) it->second.Cancel();
}

void RpcWorld::ReleaseTicket(const std::string& decode, uint64_t ticket) {
  const auto stub = v1::Decode::NewStub(channels_.Get(decode));
  v1::ReleaseTicketRequest request;
  request.set_ticket(ticket);
  calls_.Unary(stub->async(), &v1::Decode::Stub::async::Release, request, absl::Now() + kCourtesy,
               [](absl::StatusOr<v1::ReleaseTicketReply>) {});
}

void RpcWorld::ReleaseLease(uint64_t name) {
  const std::optional<PoolShards::Lease> lease = shards_.Take(name);
  if (!lease.has_value()) return;
  const auto stub = v1::Pool::NewStub(channels_.Get(lease->pool));
  v1::ReleaseLeaseRequest request;
  request.set_lease(lease->lease);
  request.set_tenant(lease->tenant);
  calls_.Unary(stub->async(), &v1::Pool::Stub::async::Release, request, absl::Now() + kCourtesy,
               [](absl::StatusOr<v1::ReleaseLeaseReply>) {});
}

// What workers can do is of use to every shard that plans with them.
void RpcWorld::SendReport(const ReportFacts& facts) {
  for (const std::string& pool : shards_.addresses()) {
    const auto stub = v1::Pool::NewStub(channels_.Get(pool));
    calls_.Unary(stub->async(), &v1::Pool::Stub::async::Report, ToProto(facts), absl::Now() + kCourtesy,
                 [](absl::StatusOr<v1::ReportReply>) {});
  }
}

void RpcWorld::EmitStarted(RequestNumber request, const StartedNotice& notice) { Write(request, ToProto(notice)); }

void RpcWorld::EmitPiece(RequestNumber request, const PieceNotice& notice) { Write(request, ToProto(notice)); }

void RpcWorld::EmitFinished(RequestNumber request, const FinishedNotice& notice) {
  Write(request, ToProto(notice));
  EndClient(request, absl::OkStatus());
}

void RpcWorld::EmitError(RequestNumber request, const absl::Status& status) { EndClient(request, status); }

void RpcWorld::Write(RequestNumber request, v1::GenerateEvent event) {
  const auto it = clients_.find(request);
  if (it == clients_.end()) return;
  const absl::Status written = it->second.stream->Write(std::move(event));
  if (written.ok()) return;
  // Not from here: the core is in the middle of an event.
  loop_.Post([this, request, written](absl::Time now) { router_->ClientGone(now, request, written); });
}

void RpcWorld::EndClient(RequestNumber request, const absl::Status& status) {
  const auto it = clients_.find(request);
  if (it == clients_.end()) return;
  it->second.stream->Finish(status);
  it->second.ended();
  clients_.erase(it);
}

}  // namespace decant
