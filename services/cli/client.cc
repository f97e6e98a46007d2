#include "services/cli/client.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "decant/v1/generation.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/tenant_rpc.h"

namespace decant {
namespace {

constexpr absl::Duration kShortLimit = absl::Seconds(10);

absl::Status WithAdvice(const std::string& router, const grpc::Status& status) {
  absl::Status plain = FromGrpc(status);
  if (!absl::IsUnavailable(plain)) return plain;
  return absl::UnavailableError(absl::StrCat(plain.message(), " (router ", router,
                                             "; if it is not running, start it with `decant up --model DIR`)"));
}

// One call of the router, in the tenant's name.
template <typename Reply, typename Request, typename Method>
absl::StatusOr<Reply> AskOnce(const std::string& router, const std::string& tenant, const Request& request,
                              Method method) {
  Channels channels;
  const auto stub = v1::Generation::NewStub(channels.Get(router));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + kShortLimit));
  NameTenant(tenant, context);
  Reply reply;
  const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
  if (!status.ok()) return WithAdvice(router, status);
  return reply;
}

}  // namespace

absl::StatusOr<Generated> GenerateOnce(const std::string& router, const v1::GenerateRequest& request,
                                       absl::Duration limit, const std::function<void(absl::string_view)>& on_text,
                                       const std::string& tenant) {
  Channels channels;
  const auto stub = v1::Generation::NewStub(channels.Get(router));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + limit));
  NameTenant(tenant, context);
  const auto stream = stub->Generate(&context, request);
  Generated generated;
  bool finished = false;
  v1::GenerateEvent event;
  while (stream->Read(&event)) {
    if (event.has_started()) {
      generated.request_id = event.started().request_id();
    } else if (event.has_piece()) {
      const auto& tokens = event.piece().tokens();
      generated.tokens.insert(generated.tokens.end(), tokens.begin(), tokens.end());
      generated.text += event.piece().text();
      on_text(event.piece().text());
    } else if (event.has_finished()) {
      generated.finished = event.finished();
      finished = true;
    }
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return WithAdvice(router, status);
  if (!finished) return absl::InternalError("the router ended the stream without a result");
  return generated;
}

absl::StatusOr<v1::ExplainReply> ExplainOnce(const std::string& router, const std::string& request_id,
                                             const std::string& tenant) {
  v1::ExplainRequest request;
  request.set_request_id(request_id);
  return AskOnce<v1::ExplainReply>(router, tenant, request, &v1::Generation::Stub::Explain);
}

absl::StatusOr<v1::HintReply> HintOnce(const std::string& router, const std::string& envelope,
                                       const std::string& tenant) {
  v1::HintRequest request;
  request.set_envelope(envelope);
  return AskOnce<v1::HintReply>(router, tenant, request, &v1::Generation::Stub::Hint);
}

}  // namespace decant
