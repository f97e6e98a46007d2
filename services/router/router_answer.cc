// The answer of one request: tokens in, each exactly once, text and the end out.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/router/router.h"

namespace decant {

void Router::Tokens(absl::Time now, AttemptId id, const TokenBatch& batch) {
  Request* request = Find(id);
  if (request == nullptr || !request->attempt.tokens_open) return;
  TakeTokens(now, *request, batch);
  Dispatch(now);
}

void Router::TakeTokens(absl::Time now, Request& request, const TokenBatch& batch) {
  Attempt& attempt = request.attempt;
  const int64_t have = request.answered();
  const int64_t end = batch.index + static_cast<int64_t>(batch.tokens.size());
  const auto fail = [&](const std::string& what) {
    request.strikes[attempt.decode] += kBlamed;
    FailAttempt(now, request, "decode", absl::DataLossError(absl::StrCat("decode worker ", attempt.decode, " ", what)));
  };
  if (batch.index < 0 || batch.index > have || (batch.last && end < have)) {
    fail(absl::StrCat("sent tokens ", batch.index, " to ", end, " where ", have, " were expected"));
    return;
  }
  for (const int32_t token : batch.tokens) {
    if (token >= 0 && token < model_.vocabulary) continue;
    fail(absl::StrCat("sent token ", token, " of a vocabulary of ", model_.vocabulary));
    return;
  }
  PieceNotice piece;
  piece.index = have;
  bool stopped = false;
  for (int64_t i = have; i < end && request.left() > 0 && !request.ended_itself && !stopped; ++i) {
    const int32_t token = batch.tokens[static_cast<size_t>(i - batch.index)];
    request.ended_itself = end_tokens_.contains(token);
    if (!request.ended_itself) {
      // A token that the tokenizer does not know (embeddings may be padded) has no text.
      if (const auto added = request.text.Add(token); added.ok()) {
        piece.text += added->text;
        stopped = added->stopped;
      }
    }
    request.tokens.push_back(token);
    piece.tokens.push_back(token);
  }
  if (!piece.tokens.empty()) {
    if (!attempt.flowing) request.AddHop("first_token", attempt.step_began, now);
    if (have == 0) request.MarkFirstToken(now);
    request.last_token_at = now;
    attempt.flowing = true;
    world_.EmitPiece(request.number, piece);
  }
  if (batch.last) {
    // The worker has let go of the sequence by itself.
    attempt.tokens_open = false;
    attempt.ticket = 0;
    registry_.TakeSequence(attempt.decode);
    request.TakeEnd(batch);
  }
  if (stopped) {
    Complete(now, request, "stop");
  } else if (batch.last) {
    const bool length = batch.finish_reason == "length" || (batch.finish_reason != "stop" && request.left() == 0);
    Complete(now, request, length ? "length" : "stop");
  }
}

void Router::TokensEnded(absl::Time now, AttemptId id, const absl::Status& status) {
  Request* request = Find(id);
  if (request == nullptr || !request->attempt.tokens_open) return;
  Attempt& attempt = request->attempt;
  request->strikes[attempt.decode] += kBlamed;
  FailAttempt(now, *request, "decode",
              absl::Status(status.ok() ? absl::StatusCode::kUnavailable : status.code(),
                           absl::StrCat("the token stream of decode worker ", attempt.decode, " broke after ",
                                        request->answered(), " tokens: ",
                                        status.ok() ? "it ended without a last token" : status.message())));
  Dispatch(now);
}

void Router::Complete(absl::Time now, Request& request, absl::string_view reason) {
  request.finish_reason = std::string(reason);
  if (request.attempt.flowing || request.answered() > 0) {
    const Attempt& attempt = request.attempt;
    request.AddHop("stream", std::max(attempt.step_began, request.first_token_at), now);
  }
  auto rest = request.text.Finish();
  if (!rest.ok()) {
    EndWithError(request, rest.status(), "failed");
    return;
  }
  if (!rest->empty()) {
    world_.EmitPiece(request.number, PieceNotice{request.answered(), {}, *std::move(rest)});
  }
  CloseDecode(request);
  request.stage = Stage::kClosing;
  if (request.attempt.prefill_open) {
    SetStepDeadline(request, now + limits_.closing);
    return;
  }
  EmitFinish(request);
  End(request);
}

void Router::EmitFinish(Request& request) {
  request.client_waits = false;
  Explanation& explanation = request.explanation;
  explanation.state = "finished";
  if (explanation.kv.full == 0) {
    explanation.kv.full = model_.geometry.full_bytes_per_token() * static_cast<int64_t>(request.tokens.size());
  }
  FinishedNotice notice;
  notice.finish_reason = request.finish_reason;
  notice.prompt_tokens = request.prompt_tokens;
  notice.output_tokens = request.answered();
  notice.ttft_ms = request.ttft_ms();
  notice.total_ms = absl::ToDoubleMilliseconds(request.last_token_at - request.arrived);
  notice.kv = explanation.kv;
  notice.tiers = explanation.tiers;
  notice.prefix_tokens_reused = explanation.prefix_tokens_reused;
  notice.profile = explanation.profile;
  notice.reason = explanation.reason;
  world_.EmitFinished(request.number, notice);
  world_.NoteEnded(RequestOutcome{request.finish_reason, request.ttft_ms(), request.tpot_ms()});
  // What a replanned request took says nothing about a plan.
  if (!request.prefilled.has_value() || !request.attempt.by_pool || request.replans > 0) return;
  ReportFacts facts;
  facts.request_id = request.terms.request_id;
  facts.profile = explanation.profile;
  facts.prefill = explanation.prefill;
  facts.decode = explanation.decode;
  facts.prompt_tokens = request.prompt_tokens;
  facts.tokens_computed = request.prefilled->tokens_computed;
  facts.compute_ms = request.prefilled->compute_ms;
  facts.encode_ms = request.prefilled->encode_ms;
  facts.wire_ms = request.prefilled->wire_ms;
  facts.ttft_ms = request.ttft_ms();
  facts.kv = explanation.kv;
  world_.SendReport(facts);
}

}  // namespace decant
