#include "services/router/tenant_secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace decant {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string FileWith(const std::string& content) {
  const std::string path = testing::TempDir() + "/tenant_secret";
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

TEST(TenantSecretTest, IsTheFileWithoutItsLastLineBreak) {
  EXPECT_EQ(*ReadTenantSecret(FileWith("0123456789abcdef\n")), "0123456789abcdef");
  EXPECT_EQ(ReadTenantSecret(FileWith(std::string(kMostSecretBytes, 'x')))->size(), kMostSecretBytes);
}

TEST(TenantSecretTest, OtherLengthsAreRefusedWithoutShowingThem) {
  const absl::Status tiny = ReadTenantSecret(FileWith("0123456789abcde\n\n\n")).status();
  EXPECT_EQ(tiny.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tiny.message()), HasSubstr("15 bytes"));
  EXPECT_THAT(std::string(tiny.message()), Not(HasSubstr("abcde")));
  EXPECT_FALSE(ReadTenantSecret(FileWith("")).ok());
  EXPECT_FALSE(ReadTenantSecret(FileWith(std::string(kMostSecretBytes + 1, 'x'))).ok());
}

TEST(TenantSecretTest, AFileThatIsNotThereSaysHowToMakeOne) {
  const absl::Status status = ReadTenantSecret("/nowhere/secret").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("openssl rand"));
  EXPECT_FALSE(ReadTenantSecret("/").ok());
}

}  // namespace
}  // namespace decant
