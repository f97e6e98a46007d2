#include <algorithm>
#include <numeric>

#include "gpu/kernels/attention/prefill_token_choice.h"

namespace decant {
namespace {

void AddPooled(const TokenChoiceArgs& args, const float* sums, int32_t past) {
  const int32_t reach = args.kernel / 2;
  for (int32_t token = 0; token < past; ++token) {
    const int32_t first = std::max(token - reach, 0);
    const int32_t last = std::min(token + reach, past - 1);
    if (!args.average) {
      args.scores[token] += *std::max_element(sums + first, sums + last + 1);
    } else {
      args.scores[token] += std::accumulate(sums + first, sums + last + 1, 0.0f) / static_cast<float>(args.kernel);
    }
  }
}

}  // namespace

void ChooseTokensHost(Stream& stream, const TokenChoiceArgs& args) {
  const HostAccess access(stream);
  const int32_t past = args.tokens - args.window;
  const int32_t kept_past = args.kept - args.window;
  std::fill_n(args.scores, past, 0.0f);
  for (int32_t head = 0; head < args.q_heads; ++head) AddPooled(args, args.sums + head * args.stride, past);
  std::iota(args.chosen, args.chosen + args.tokens, 0);
  const auto better = [&args](int32_t a, int32_t b) {
    return args.scores[a] != args.scores[b] ? args.scores[a] > args.scores[b] : a < b;
  };
  std::nth_element(args.chosen, args.chosen + kept_past, args.chosen + past, better);
  std::sort(args.chosen, args.chosen + kept_past);
  std::iota(args.chosen + kept_past, args.chosen + args.kept, past);
}

}  // namespace decant
