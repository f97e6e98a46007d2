#include "services/lab/app.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/policy/profile_table.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

LabOptions Small(const std::string& name) {
  LabOptions options;
  options.model = SourceDir() + "/deploy/models/decant-tiny";
  options.profiles = "k8v4,diffkv";
  options.budgets = "0.3";
  options.tasks = "recall,labels";
  options.lengths = "128";
  options.samples = {3};
  options.quick = true;
  options.threads = 2;
  options.out = testing::TempDir() + "/decant_lab_" + name;
  std::filesystem::remove_all(options.out);
  return options;
}

TEST(LabTest, WritesTablesPlotsAndTheQualityTable) {
  const LabOptions options = Small("writes");
  const absl::Status status = RunLab(options);
  ASSERT_TRUE(status.ok()) << status;
  const std::string csv = Read(options.out + "/table.csv");
  EXPECT_THAT(csv, HasSubstr("k8v4,,recall,128,query-agnostic,3,"));
  EXPECT_THAT(csv, HasSubstr("diffkv,0.3,labels,128,query-aware,3,"));
  EXPECT_THAT(Read(options.out + "/table.md"), HasSubstr("## all tasks, query-aware, 6 questions"));
  EXPECT_THAT(Read(options.out + "/recall_query-agnostic.svg"), HasSubstr("</svg>"));
  EXPECT_THAT(Read(options.out + "/all_query-aware.svg"), HasSubstr("</svg>"));
  const absl::StatusOr<ProfileTable> table = ParseProfileTable(Read(options.out + "/quality.json"));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->profiles.size(), 3u);
}

TEST(LabTest, TheSameCommandTakesFromTheJournalAndAnotherModelIsRefused) {
  LabOptions options = Small("resumes");
  options.dtype = "bf16";
  options.profiles = "k8v4";
  ASSERT_TRUE(RunLab(options).ok());
  const std::string journal = Read(options.out + "/journal.jsonl"), csv = Read(options.out + "/table.csv");
  ASSERT_TRUE(RunLab(options).ok());
  EXPECT_EQ(Read(options.out + "/journal.jsonl"), journal);
  EXPECT_EQ(Read(options.out + "/table.csv"), csv);

  // Cut the last unit: it alone is measured again, with the same result but for the time it took.
  const size_t last = journal.rfind('\n', journal.size() - 2) + 1;
  std::filesystem::resize_file(options.out + "/journal.jsonl", last + 20);
  ASSERT_TRUE(RunLab(options).ok());
  EXPECT_EQ(Read(options.out + "/journal.jsonl").substr(0, last), journal.substr(0, last));
  EXPECT_EQ(Read(options.out + "/table.csv"), csv);

  // Another point is measured beside what is there.
  options.profiles = "k8v4,snapkv";
  ASSERT_TRUE(RunLab(options).ok());
  EXPECT_EQ(Read(options.out + "/journal.jsonl").substr(0, last), journal.substr(0, last));
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("snapkv,0.3,labels,128,query-aware,3,"));

  // So are more samples; of the units that are there, those stay that were asked the same questions.
  options.samples = {5};
  ASSERT_TRUE(RunLab(options).ok());
  EXPECT_EQ(Read(options.out + "/journal.jsonl").substr(0, last), journal.substr(0, last));
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("k8v4,,recall,128,query-agnostic,5,"));

  options.dtype = "f32";
  const absl::Status status = RunLab(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("run type bf16, this one has f32"));
}

TEST(LabTest, AUsersOwnFileIsMeasured) {
  LabOptions options = Small("own");
  std::filesystem::create_directories(options.out);
  options.tasks = options.out + "/mine.jsonl";
  std::ofstream(options.tasks) << R"({"context": "The code of Alice is 12345.", "questions": [)"
                               << R"({"ask": " Question: what is the code of Alice? Answer:", "answer": " 12345."}]})";
  const absl::Status status = RunLab(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("full,,mine,"));
  EXPECT_THAT(Read(options.out + "/table.md"), HasSubstr("No long output"));
  EXPECT_THAT(Read(options.out + "/table.md"), HasSubstr("--lengths 128 is of no use to mine"));
  EXPECT_THAT(Read(options.out + "/table.md"), HasSubstr("first context of mine, which is measured like the others"));
}

TEST(LabTest, AUsersQuestionsAreAllAskedOrTheTableSaysHowManyAreNot) {
  LabOptions options = Small("cut");
  std::filesystem::create_directories(options.out);
  options.tasks = options.out + "/mine.jsonl";
  options.profiles = "k8v4";
  options.lengths = "";
  options.mode = "query-agnostic";
  std::ofstream file(options.tasks);
  for (int i = 0; i < 26; ++i) {
    file << R"({"context": "The code of Alice is 12345.", "questions": [)"
         << R"({"ask": " Question: what is the code of Alice? Answer:", "answer": " 12345."}]})" << std::endl;
  }
  file.close();
  const auto run = [&](std::vector<int32_t> samples, bool quick) {
    options.samples = std::move(samples);
    options.quick = quick;
    const absl::Status status = RunLab(options);
    EXPECT_TRUE(status.ok()) << status;
    return Read(options.out + "/table.md");
  };
  EXPECT_THAT(run({}, true), HasSubstr("Of the 26 questions of mine only the first 24 are asked, because of --quick"));
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("k8v4,,mine,13,query-agnostic,24,"));
  EXPECT_THAT(run({5}, false), HasSubstr("only the first 5 are asked, because of --samples 5"));
  EXPECT_THAT(run({}, false), testing::Not(HasSubstr("are asked")));
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("k8v4,,mine,13,query-agnostic,26,"));
}

TEST(LabTest, AUsersOwnProfileAndTextAreMeasured) {
  LabOptions options = Small("mine");
  std::filesystem::create_directories(options.out);
  std::ofstream(options.out + "/mine.json")
      << R"({"name": "mine", "version": 1, "high": "full", "score": "position", "allocate": "sinks_and_recent",)"
      << R"( "budget": 0.5, "sinks": 4, "window": 1, "shareable": "full"})";
  options.profiles = "k8v4," + options.out + "/mine.json";
  std::ofstream text(options.out + "/prose.txt");
  for (int i = 0; i < 3000; ++i) text << " river " << i % 10;
  text.close();
  options.tasks = "text:" + options.out + "/prose.txt";
  options.lengths = "1400";
  options.samples = {1};
  const absl::Status status = RunLab(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Read(options.out + "/table.csv"), HasSubstr("mine,0.3,prose,1400,query-agnostic,1,"));

  std::ofstream(options.out + "/mine.json") << R"({"name": "mine", "high": "full", "shareable": "none"})";
  EXPECT_THAT(RunLab(options).ToString(), HasSubstr("profile 'mine': shareable is 'none', which is unknown"));
  std::ofstream(options.out + "/mine.json") << R"({"name": "mine", "hihg": "full"})";
  const std::string error = RunLab(options).ToString();
  EXPECT_THAT(error, HasSubstr("profile file " + options.out + "/mine.json"));
  EXPECT_THAT(error, HasSubstr("hihg"));
}

TEST(LabTest, BadOptionsAreNamedBeforeAnythingIsLoaded) {
  const auto error = [](auto change) {
    LabOptions options = Small("bad");
    options.model = "/nowhere";
    change(options);
    return RunLab(options).ToString();
  };
  EXPECT_THAT(error([](LabOptions& o) { o.budgets = "1.5"; }), HasSubstr("budget 1.5 would keep more than everything"));
  EXPECT_THAT(error([](LabOptions& o) { o.profiles = "zip"; }), HasSubstr("profile 'zip' is unknown"));
  EXPECT_THAT(error([](LabOptions& o) { o.mode = "aware"; }), HasSubstr("mode 'aware' is unknown"));
  EXPECT_THAT(error([](LabOptions& o) { o.lengths = "512,x"; }), HasSubstr("length 'x' is no number"));
  EXPECT_THAT(error([](LabOptions& o) { o.lengths = "512,1024,512"; }), HasSubstr("length 512 stands there twice"));
  EXPECT_THAT(error([](LabOptions& o) { o.budgets = "0.2,0.20"; }), HasSubstr("budget 0.20 stands there twice"));
  EXPECT_THAT(error([](LabOptions& o) { o.profiles = "k8v4,k8v4"; }), HasSubstr("profile k8v4 stands there twice"));
  EXPECT_THAT(error([](LabOptions& o) { o.tasks = "/nowhere/t.jsonl"; }), HasSubstr("cannot read the task file"));
  EXPECT_THAT(error([](LabOptions& o) { o.samples = {-1}; }), HasSubstr("-1 samples"));
  EXPECT_THAT(error([](LabOptions& o) { o.samples = {3, 2}; }), HasSubstr("2 numbers of samples for 1 lengths"));
  EXPECT_THAT(error([](LabOptions& o) { o.out = ""; }), HasSubstr("--out"));
  EXPECT_THAT(error([](LabOptions&) {}), HasSubstr("/nowhere"));
}

TEST(LabTest, UnknownTasksAndTooLongContextsAreNamed) {
  LabOptions options = Small("unknown");
  options.tasks = "recal";
  EXPECT_THAT(RunLab(options).ToString(), HasSubstr("task 'recal' is unknown; for this model there are recall, "));
  options.tasks = "recall,labels,recall";
  EXPECT_THAT(RunLab(options).ToString(), HasSubstr("task recall stands there twice"));
  options = Small("unknown");
  options.lengths = "4000";
  EXPECT_THAT(RunLab(options).ToString(), HasSubstr("exceed the model's 4096 positions"));
}

}  // namespace
}  // namespace decant
