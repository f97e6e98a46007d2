#include "services/rpc/candidate_rpc.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

// Every field another number, so that none can stand in for another.
PairCandidate Example() {
  PairCandidate pair;
  pair.prefill = "p:1";
  pair.decode = "d:2";
  pair.link = LinkKind::kNccl;
  pair.link_bits_per_s = 3;
  pair.prefill_load = {4, 5, 6, 7, 8, 9, 10, true};
  pair.decode_load = {11, 12, 13, 14, 15, 16, 17, false};
  pair.prefill_queued_tokens = 18;
  pair.decode_page_bytes = 19;
  return pair;
}

TEST(CandidateRpcTest, NothingOfAPairIsLostOnItsWay) {
  const PairCandidate pair = FromProto(ToProto(Example()));
  EXPECT_EQ(pair.prefill, "p:1");
  EXPECT_EQ(pair.decode, "d:2");
  EXPECT_EQ(pair.link, LinkKind::kNccl);
  EXPECT_EQ(pair.link_bits_per_s, 3);
  EXPECT_EQ(pair.prefill_queued_tokens, 18);
  EXPECT_EQ(pair.decode_page_bytes, 19);
}

TEST(CandidateRpcTest, NothingOfALoadIsLostOnItsWay) {
  const WorkerLoad load = FromProto(ToProto(Example())).prefill_load;
  EXPECT_EQ(load.running, 4);
  EXPECT_EQ(load.waiting, 5);
  EXPECT_EQ(load.free_pages, 6);
  EXPECT_EQ(load.total_pages, 7);
  EXPECT_EQ(load.prefill_tokens_per_s, 8);
  EXPECT_EQ(load.decode_steps_per_s, 9);
  EXPECT_EQ(load.encode_bytes_per_s, 10);
  EXPECT_TRUE(load.draining);
  EXPECT_EQ(FromProto(ToProto(Example())).decode_load.running, 11);
}

TEST(CandidateRpcTest, AnUnknownLinkIsUnspecified) {
  v1::Candidate candidate;
  for (const int kind : {-1, 6, 257}) {
    candidate.set_link(static_cast<v1::LinkKind>(kind));
    EXPECT_EQ(FromProto(candidate).link, LinkKind::kUnspecified) << kind;
  }
}

}  // namespace
}  // namespace decant
