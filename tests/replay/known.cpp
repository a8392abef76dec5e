// Why heed gives something else than PyTorch, where it means to or where PyTorch is of two minds.
#include <algorithm>

#include "replay.h"

namespace heed::replay {
namespace {

struct Reason {
  std::string_view ops;    // rows of the table or names of ops, one blank between; one that ends in "*" is a beginning
  std::string_view where;  // columns of the table or, for ordinary values, types; a comma between; "*" is any
  std::string_view reason;
};

constexpr Reason reasons[] = {
    // ---- special values, pointwise ----
    {"heaviside", "nan,inf,-inf,-0,denormal,largest", "NaN goes through, as in NumPy; PyTorch makes 0 of it"},
    {"nn.functional.hardswish", "-inf,largest,rank 0",
     "by cases: 0 below -3, x above 3; PyTorch's x·relu6(x + 3)/6 makes NaN of -inf, inf of the largest and -0 below "
     "-3"},
    {"nn.functional.gelu", "largest", "x·Phi(x) is x there; PyTorch's vectors overflow on the way"},
    {"nn.functional.relu6", "-0", "what is at a bound becomes the bound: 0 of -0"},
    {"nn.functional.soft_margin_loss", "largest", "log(1 + e^-xy) as softplus: PyTorch's exp overflows"},
    {"addcmul lerp", "nan,inf,-inf,-0,denormal,largest",
     "PyTorch's compiler fuses multiplication and addition, which rounds, and overflows, once"},
    {"nn.functional.ctc_loss", "inf",
     "the log of an infinite probability is a loss of -inf; in PyTorch inf - inf arises"},
    {"xlogy special.xlog1py", "-0,denormal,largest",
     "the sign of the product is kept; PyTorch gives +0 wherever x is 0"},
    {"special.i1 special.i1e special.modified_bessel_i1", "-0", "odd functions: -0 gives -0"},
    {"special.zeta", "nan,-inf,-0", "NaN goes through; PyTorch looks for poles first"},
    {"special.zeta", "largest", "2^-s is 0 there; PyTorch's series gives inf/inf"},
    {"polygamma special.polygamma", "-inf,largest",
     "all large negative floats are integers, so poles; PyTorch's trigamma takes sin(pi·x) of them, NaN"},
    {"special.bessel_*", "inf,-inf,largest",
     "0 at infinity; PyTorch's phase x - pi/4 is rounded in f32, and its cosine of inf is NaN"},
    {"special.modified_bessel_k1 special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1", "denormal",
     "-log x and 1/x; PyTorch halves the smallest denormal, to 0"},
    {"igamma igammac", "nan,inf,-0", "NaN goes through; PyTorch looks at the bounds first"},
    {"igamma igammac", "denormal,largest",
     "the lower function is 1 at the smallest a, 0 at the largest; PyTorch's f32 gives 0 and NaN"},
    {"special.laguerre_polynomial_l special.legendre_polynomial_p", "nan",
     "NaN goes through; PyTorch's recurrence stops at it before there is a result"},
    {"special.chebyshev_polynomial_* special.shifted_chebyshev_polynomial_* special.hermite_polynomial_* "
     "special.laguerre_polynomial_l special.legendre_polynomial_p",
     "largest", "the recurrence runs in f64; in f32 PyTorch's comes to inf - inf"},
    // ---- special values, sums ----
    {"nn.functional.layer_norm", "largest", "the mean does not overflow; PyTorch's moments do"},
    {"nn.functional.batch_norm nn.functional.group_norm nn.functional.instance_norm", "inf,-inf",
     "(x - mean)/deviation·weight; PyTorch folds mean·weight into the bias, so that inf - inf arises"},
    {"std std_mean", "largest", "the root of var, which overflows (in PyTorch too); PyTorch's std sums in f64"},
    {"std_mean var_mean", "inf,-inf",
     "the mean of what holds one infinity is that; PyTorch's running mean makes NaN of it"},
    {"addmm nn.functional.bilinear ormqr", "largest", "the order of the sum decides whether it overflows"},
    {"prod", "inf,-inf", "the order of the product decides whether a part of it is 0 or inf before they meet"},
    {"cdist", "nan", "p = 0 counts the coordinates that differ, and NaN differs, as in vector_norm"},
    {"mode", "nan", "NaN equals nothing, so it is most frequent only among NaN; in PyTorch its place decides"},
    {"nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss", "nan",
     "NaN goes through; PyTorch takes it for a margin that is kept"},
    {"nn.functional.scaled_dot_product_attention", "nan,inf,-inf",
     "a key that the mask leaves out is never used, and a row whose scores are all -inf attends nothing"},
    {"nn.functional.scaled_dot_product_attention", "largest",
     "the scale comes before the sum, which then does not overflow"},
    {"grid_sampler_3d", "nan,inf,-inf",
     "a place that is NaN gives NaN, as in PyTorch in two dimensions; in three it gives 0"},
    {"nn.functional.interpolate nn.functional.upsample_bilinear nn.functional.upsample_nearest", "-0",
     "a weighted sum begins with 0, and 0 + -0 is 0"},
    {"fft.*", "nan,inf,-inf",
     "which numbers of a spectrum one NaN reaches is left to the factorisation, and 0·inf in its steps makes NaN"},
    {"stft", "nan,inf,-inf", "which numbers of a spectrum one NaN reaches is left to the factorisation"},
    {"fft.* stft", "largest", "the scale comes after the sum, and a real transform adds before it halves"},
    {"fft.fft fft.ifft", "-0,denormal,largest,empty", "the sign of zero imaginary parts follows the order of the sums"},
    // ---- special values, linear algebra ----
    {"cholesky linalg.cholesky", "inf", "refused: an infinite factor solves nothing"},
    {"linalg.cholesky_ex", "nan,inf,-inf,-0,denormal,largest",
     "heed has the form that throws where PyTorch's returns the failing minor"},
    {"cholesky_inverse", "nan,inf,-inf,-0,denormal,largest",
     "solves with the identity, where zeros meet NaN and inf; LAPACK skips them. A zero on the diagonal divides, as in "
     "solve_triangular"},
    {"linalg.svd linalg.svdvals svd linalg.eigh linalg.eigvalsh linalg.pinv linalg.pinv[hermitian] pinverse "
     "linalg.matrix_rank linalg.matrix_rank[hermitian] linalg.cond norm[nuc]",
     "inf,-inf", "refused like NaN, which PyTorch refuses too; of infinities LAPACK makes NaN"},
    {"linalg.svd linalg.svdvals svd linalg.eigh linalg.eigvalsh linalg.cond linalg.lstsq linalg.pinv[hermitian]",
     "largest", "the other numbers are below the rounding of the largest: nothing of the small values is determined"},
    {"linalg.lstsq", "nan,inf,-inf", "PyTorch's LAPACK stops or spreads NaN; here only the columns that hold it"},
    {"linalg.householder_product", "nan,inf,-inf,largest",
     "a reflection is applied to whole columns, so zeros meet NaN and inf; LAPACK skips them"},
    {"qr linalg.qr geqrf", "nan,inf,-inf,largest",
     "the norm of a column with NaN or inf is that; LAPACK skips rows of zeros and rescales"},
    {"linalg.lu linalg.lu_solve lu_solve", "inf,-inf,-0,denormal",
     "the order of elimination decides the sign of zeros, and where 0 meets inf"},
    {"linalg.slogdet", "nan", "the sign of NaN is NaN; PyTorch gives 0"},
    // ---- no elements, no axes ----
    {"cholesky linalg.matrix_rank[hermitian] linalg.pinv[hermitian] lu_unpack nn.functional.batch_norm index_add",
     "empty", "arguments are checked as ever; PyTorch leaves before it looks at them"},
    {"linalg.vander", "empty", "as NumPy; PyTorch asks for one point"},
    {"nn.functional.adaptive_avg_pool3d nn.functional.max_unpool1d nn.functional.max_unpool1d[grad] "
     "nn.functional.max_unpool2d nn.functional.max_unpool2d[grad] nn.functional.max_unpool3d "
     "nn.functional.max_unpool3d[grad] nn.functional.pad[reflect] nn.functional.pad[replicate] "
     "nn.functional.pad[replicate_negative] nn.functional.multilabel_margin_loss",
     "empty", "an axis that the op does not change may be empty; PyTorch wants only the batch to be"},
    {"nn.functional.interpolate[area]", "empty",
     "only the batch may be empty, in all modes; PyTorch's area takes no channels"},
    {"nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d", "empty",
     "no channels in: the channels out hold the bias; PyTorch drops them from the shape"},
    {"fft.rfft fft.rfft2 fft.rfftn fft.ihfft fft.ihfft2 fft.ihfftn", "empty",
     "an empty batch; PyTorch's library refuses it"},
    {"fft.fftshift fft.ifftshift", "rank 0", "nothing to shift; PyTorch asks for the shifts"},
    {"mT mH", "rank 0", "no matrix; PyTorch takes it, with a warning"},
    {"nn.functional.pairwise_distance nn.functional.triplet_margin_loss", "rank 0", "a number is no point"},
    // ---- ordinary values ----
    {"addmv addbmm baddbmm addmm addr", "i64,i32,i16,i8,u8",
     "a fraction times integers is refused, as PyTorch's documentation has it; its code drops the fraction"},
    {"sum_to_size", "i32,i16,i8,u8,bool", "a sum of one element of rank 0 keeps its type; PyTorch's alone becomes i64"},
    {"polygamma special.polygamma", "i64,i32,i16,i8,u8",
     "poles are inf; PyTorch's trigamma misses them by the rounding of sin(pi·x)"},
    {"nn.functional.margin_ranking_loss", "u8", "PyTorch's differences wrap in u8"},
    {"nn.functional.softmin", "u8", "PyTorch negates in u8, which wraps, and converts after that"},
    {"nn.functional.soft_margin_loss", "f16", "PyTorch's exp overflows in f16"},
    {"matrix_exp", "f16,bf16", "PyTorch's powers overflow in 16 bits; here they are f32"},
    {"nn.functional.local_response_norm", "i64", "PyTorch returns an empty input as it is, whatever its type"},
    {"nn.functional.hardsigmoid", "f64", "PyTorch's gradient carries 1/6 rounded to f32"},
    {"masked.logsumexp", "i8,i16,u8",
     "PyTorch's result of what is all hidden is the type's smallest number, and wraps"},
    {"special.bessel_j0 special.bessel_y1", "f64", "PyTorch's coefficients beyond |x| = 5 are good to 3e-7"},
};

/// Whether `list`, divided by `mark`, holds `word`.
bool holds(std::string_view list, char mark, std::string_view word) {
  while (!list.empty()) {
    size_t const end = std::min(list.find(mark), list.size());
    std::string_view const entry = list.substr(0, end);
    if (entry == word || (entry.ends_with('*') && word.starts_with(entry.substr(0, entry.size() - 1)))) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

std::string_view known(Verdict const& verdict) {
  if (verdict.of_two_minds) return "PyTorch's vectors and its single elements differ there";
  for (auto const& [ops, where, reason] : reasons)
    if ((holds(ops, ' ', verdict.op) || holds(ops, ' ', verdict.row)) &&
        holds(where, ',', verdict.special.empty() ? verdict.type : verdict.special))
      return reason;
  return {};
}

}  // namespace heed::replay
