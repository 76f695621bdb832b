"""The lists that imports of pickles are judged by."""

from __future__ import annotations

import re
import sys


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PYTHON_2_AND_GONE = _words(
    """
    __builtin__ __builtins__ _winreg anydbm asynchat asyncore audiodev bastion binhex bsddb bsddb3
    cgi cgitb chunk commands compiler configparser cookie cookielib copy_reg cpickle cprofile
    cstringio crypt dbhash dircache distutils docxmlrpcserver dumbdbm dummy_thread
    dummy_threading exceptions fcntl formatter fpformat ftplib gdbm hotshot htmlentitydefs htmllib
    htmlparser httplib ihooks imghdr imp imputil lib2to3 linuxaudiodev macpath mailcap md5 mhlib
    mimetools mimewriter mimify msilib multifile mutex new nis nntplib ntpath nt os2
    ossaudiodev parser pipes popen2 posix posixfile queue rexec rfc822 riscos robotparser sets
    sgmllib sha simplexmlrpcserver smtpd sndhdr socketserver spwd statvfs stringio stringold
    sunaudio sunaudiodev symbol telnetlib test tkinter toaiff tkfiledialog urllib2 urlparse user
    userdict userlist userstring uu whichdb xdrlib xmlrpclib
    annotationlib compression _interpreters _interpqueues _interpchannels _pyrepl _remote_debugging
    _zstd _colorize _ast_unparse _apple_support _ios_support _android_support _aix_support
    _osx_support _sysconfig _testcapi _testinternalcapi _testmultiphase _testbuffer _ctypes_test
    _xxsubinterpreters _xxtestfuzz xxlimited __hello__ __phello__ __future__ idlelib turtledemo
    """
)
"""Of the standard library of other Pythons than this, in lower case."""

STANDARD_LIBRARY = frozenset(name.lower() for name in sys.stdlib_module_names) | PYTHON_2_AND_GONE

GADGET_PACKAGES = _words(
    """
    _distutils_hack _pytest aiohttp ansible apport asyncssh bottle celery cffi cherrypy code_aster
    conda conda_build cython django docker easy_install execnet fabric fastapi fire flask ftfy_cli
    gevent gitpython git grpc gunicorn httpcore httplib2 httpx invoke ipykernel ipython jinja2
    jsonpickle jupyter jupyter_client llvmlite mako mercurial nose nose2 numexpr paramiko pexpect
    pip pipenv pkg_resources plumbum poetry portend psutil ptyprocess pwn pwnlib py py4j pycurl
    pyinstaller pyodbc pyspark_cli pytest pywin32 requests rpyc rq ruamel ruamel_yaml scapy
    selenium setuptools sh shellingham shelltools tornado tox trio twisted urllib3 uvicorn
    virtualenv websocket websockets werkzeug wheel win32api win32com xonsh yaml zmq
    """
)
"""Packages whose purpose is to run, fetch or install something."""

GADGET_NAMES = _words(
    """
    Popen __import__ apply attrgetter breakpoint check_call check_output compile delattr dump dumps
    eval evaluate exec execfile execv execve from_file fromfile fromregex genfromtxt getattr
    getoutput getstatusoutput globals import_from_string import_module import_string install
    itemgetter load methodcaller reduce
    load_dynamic load_library load_module loads loadtxt locate map memmap open popen read_pickle
    resolve_name run run_code run_command run_module run_path run_string runcode runctx runsource
    runstring save savetxt savez savez_compressed setattr shell_exec spawn spawnl spawnv spawnve
    startfile system to_pickle tofile unpickle urlopen urlretrieve vars
    """
)
"""Last names that run, import, load or write something wherever they come from."""

_NUMPY_UFUNCS = """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil clip conj
    conjugate copysign cos cosh deg2rad degrees divide equal exp exp2 expm1 fabs floor
    floor_divide fmax fmin fmod greater greater_equal hypot invert isfinite isinf isnan less
    less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor
    maximum minimum mod multiply negative not_equal positive power rad2deg radians reciprocal
    remainder rint sign sin sinh sqrt square subtract tan tanh true_divide trunc
    nan_to_num mean median sum std var min max ravel squeeze
"""
_NUMPY_TYPES = """
    ndarray dtype matrix recarray record generic number bool bool_ int8 int16 int32 int64 uint8
    uint16 uint32 uint64 intp uintp int_ intc uint uintc longlong ulonglong byte ubyte short ushort
    float16 float32 float64 float128 longdouble clongdouble half single double float_ complex64
    complex128 complex256 csingle cdouble complex_ str_ bytes_ unicode_ string_ object_ void
    datetime64 timedelta64 object float int complex str long poly1d vectorize
"""
_TORCH = """
    FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage
    CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage QUInt8Storage
    QInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage UntypedStorage TypedStorage
    Size device dtype Tensor FloatTensor DoubleTensor HalfTensor BFloat16Tensor LongTensor
    IntTensor ShortTensor CharTensor ByteTensor BoolTensor Generator memory_format layout
    float float16 float32 float64 double half bfloat16 int int8 int16 int32 int64 uint8 uint16
    uint32 uint64 long short bool complex32 complex64 complex128 cfloat cdouble chalf qint8
    quint8 qint32 quint4x2 quint2x4 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz
    float8_e8m0fnu float4_e2m1fn_x2 strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc
    contiguous_format channels_last channels_last_3d preserve_format per_tensor_affine
    per_channel_affine per_tensor_symmetric per_channel_symmetric per_channel_affine_float_qparams
"""
_TORCH_FUNCTIONS = "relu tanh sigmoid softmax abs exp log sin cos sqrt mean sum max min"
_EXCEPTIONS = """
    ArithmeticError AttributeError Exception IndexError KeyError LookupError RuntimeError TypeError
    UserWarning DeprecationWarning FutureWarning ValueError Warning
"""
_BUILTIN_TYPES = """
    bool bytearray bytes complex dict float frozenset int list long object range set slice str
    tuple unicode xrange Ellipsis NotImplemented NoneType type
"""
_TYPE_HINTS = """
    Any AnyStr Callable ClassVar DefaultDict Deque Dict Final FrozenSet Generator Generic Iterable
    Iterator List Literal Mapping MutableMapping MutableSequence NamedTuple Optional OrderedDict
    Sequence Set Tuple Type Union
"""
_BUILTIN_FUNCTIONS = "abs all any divmod hash len max min pow round sorted sum"


def _names(module: str, names: str) -> frozenset[tuple[str, str]]:
    return frozenset((module, name) for name in names.split())


FUNCTIONS = frozenset[tuple[str, str]]().union(
    _names("builtins", _BUILTIN_FUNCTIONS),
    _names("__builtin__", _BUILTIN_FUNCTIONS),
    _names("numpy", _NUMPY_UFUNCS),
    _names("torch", _TORCH_FUNCTIONS),
    _names("typing", _TYPE_HINTS),
    _names("inspect", "_empty"),
)
"""Those of :data:`ALLOWED` that objects keep to call them later: loading calls none of them."""

_MULTIARRAY = "_reconstruct scalar array empty zeros concatenate"
ALLOWED = FUNCTIONS.union(
    _names("builtins", _BUILTIN_TYPES + _EXCEPTIONS),
    _names("__builtin__", _BUILTIN_TYPES + _EXCEPTIONS),
    _names("exceptions", _EXCEPTIONS),
    _names("collections", "OrderedDict defaultdict deque Counter ChainMap"),
    _names("_collections", "OrderedDict defaultdict deque"),
    _names("copyreg", "_reconstructor __newobj__ __newobj_ex__"),
    _names("copy_reg", "_reconstructor __newobj__ __newobj_ex__"),
    _names("_codecs", "encode"),
    _names("re", "_compile"),
    _names("datetime", "datetime date time timedelta timezone"),
    _names("zoneinfo", "ZoneInfo"),
    _names("xgboost.core", "Booster"),
    _names("lightgbm.basic", "Booster"),
    _names("pytz", "_UTC _p"),
    _names("dateutil.tz.tz", "tzutc tzoffset tzlocal"),
    _names("decimal", "Decimal"),
    _names("_decimal", "Decimal"),
    _names("fractions", "Fraction"),
    _names("uuid", "UUID SafeUUID"),
    _names("functools", "partial"),
    _names("types", "SimpleNamespace MappingProxyType"),
    _names("argparse", "Namespace"),
    _names("array", "_array_reconstructor array"),
    _names("random", "Random"),
    _names("pathlib", "PurePosixPath PureWindowsPath PurePath PosixPath WindowsPath Path"),
    _names("pathlib._local", "PurePosixPath PureWindowsPath PurePath PosixPath WindowsPath Path"),
    _names("numpy", f"{_NUMPY_TYPES} {_NUMPY_UFUNCS}"),
    _names("numpy.rec", "recarray record"),
    _names("numpy.core.multiarray", _MULTIARRAY),
    _names("numpy._core.multiarray", _MULTIARRAY),
    _names("numpy.core._multiarray_umath", _NUMPY_UFUNCS),
    _names("numpy._core._multiarray_umath", _NUMPY_UFUNCS),
    _names("numpy.core", "_ufunc_reconstruct"),
    _names("numpy._core", "_ufunc_reconstruct"),
    _names("numpy.core.numeric", "_frombuffer"),
    _names("numpy._core.numeric", "_frombuffer"),
    _names("numpy._core._internal", "_convert_to_stringdtype_kwargs"),
    _names("numpy.ma.core", "_mareconstruct MaskedArray MaskedConstant"),
    _names("numpy.ma", "_mareconstruct MaskedArray"),
    _names(
        "numpy.random._pickle",
        "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    ),
    _names("numpy.random", "__RandomState_ctor RandomState Generator"),
    _names("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence SeedSequence"),
    _names("mtrand", "__RandomState_ctor"),
    _names("joblib.numpy_pickle", "NumpyArrayWrapper NDArrayWrapper ZNDArrayWrapper"),
    _names("joblib.numpy_pickle_compat", "NDArrayWrapper ZNDArrayWrapper"),
    _names(
        "sklearn.externals.joblib.numpy_pickle",
        "NumpyArrayWrapper NDArrayWrapper ZNDArrayWrapper",
    ),
    _names("joblib.memory", "Memory"),
    _names("sklearn.utils._bunch", "Bunch"),
    _names("hdbscan.dist_metrics", "newObj"),
    _names("river._river_rust.vectordict", "VectorDict"),
    _names("hdbscan._hdbscan_linkage", "newObj"),
    _names("statsmodels.tsa.deterministic", "DeterministicProcess"),
    _names("sklearn.neighbors._kd_tree", "newObj"),
    _names("sklearn.neighbors._ball_tree", "newObj"),
    _names("sklearn.neighbors.kd_tree", "newObj"),
    _names("sklearn.neighbors.ball_tree", "newObj"),
    _names("sklearn.neighbors.dist_metrics", "newObj"),
    _names("sklearn.metrics._dist_metrics", "newObj"),
    _names("scipy.sparse", "csr_matrix csc_matrix coo_matrix lil_matrix dok_matrix dia_matrix"),
    _names("scipy.sparse", "bsr_matrix csr_array csc_array coo_array lil_array dia_array"),
    _names("scipy.spatial._ckdtree", "cKDTree"),
    _names("scipy.spatial.ckdtree", "cKDTree"),
    _names("scipy.stats._kde", "gaussian_kde"),
    _names("scipy.stats.kde", "gaussian_kde"),
    _names(
        "scipy.stats._distn_infrastructure",
        "rv_frozen rv_continuous_frozen rv_discrete_frozen",
    ),
    _names("sklearn.compose._column_transformer", "make_column_selector"),
    _names("scipy.interpolate._interpolate", "interp1d"),
    _names("scipy.interpolate.interpolate", "interp1d"),
    _names("pandas._libs.internals", "_unpickle_block BlockManager"),
    _names("pandas.core.internals.managers", "BlockManager SingleBlockManager"),
    _names("pandas.core.internals.blocks", "new_block new_block_2d"),
    _names("pandas.core.indexes.base", "_new_Index"),
    _names("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
    _names("pandas.core.indexes.period", "_new_PeriodIndex"),
    _names("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    _names("pandas._libs.tslibs.timedeltas", "_timedelta_unpickle"),
    _names("pandas._libs.tslibs.nattype", "_nat_unpickle __nat_unpickle"),
    _names("pandas._libs.tslibs.period", "_unpickle_period"),
    _names("pandas", "DataFrame Series Index RangeIndex MultiIndex Timestamp Timedelta Interval"),
    _names("pandas", "Categorical CategoricalDtype DatetimeIndex NaT StringDtype Int64Dtype"),
    _names("patsy.design_info", "DesignInfo SubtermInfo FactorInfo LinearConstraint"),
    _names("torch", _TORCH),
    _names("torch.torch_version", "TorchVersion"),
    _names("torch.nn.parallel.data_parallel", "DataParallel"),
    _names("torch.utils.data.dataset", "ConcatDataset Subset TensorDataset"),
    _names("torch.utils.hooks", "RemovableHandle"),
    _names("torch._tensor", "Tensor _rebuild_from_type_v2"),
    _names("torch._C", "Generator"),
    _names("torch.storage", "UntypedStorage TypedStorage _load_from_bytes"),
    _names("torch.serialization", "_get_layout"),
    _names("torch.nn.parameter", "Parameter Buffer UninitializedParameter UninitializedBuffer"),
    _names(
        "torch.jit._pickle",
        "build_intlist build_tensorlist build_doublelist build_boollist build_tensor_from_id"
        " restore_type_tag",
    ),
    _names("accelerate.state", "PartialState"),
    _names("accelerate.utils.dataclasses", "DistributedType DynamoBackend"),
    _names("transformers.training_args", "TrainingArguments OptimizerNames ParallelMode"),
    _names("transformers.training_args_seq2seq", "Seq2SeqTrainingArguments"),
    _names("transformers.trainer_utils", "IntervalStrategy SchedulerType HubStrategy SaveStrategy"),
    _names("transformers.trainer_utils", "EvaluationStrategy FSDPOption ShardedDDPOption"),
    _names("transformers.trainer_pt_utils", "AcceleratorConfig LabelSmoother"),
    _names("transformers.configuration_utils", "PretrainedConfig PreTrainedConfig"),
    _names("transformers.generation.configuration_utils", "GenerationConfig"),
)
"""Exact names of which none runs, imports, opens or changes what a file names to it."""

_FUNCTION = r"[a-z]\w*"
ALLOWED_BELOW: dict[str, str] = {
    # Functions that models keep to call them with data: uses.py sees to it that nothing else does.
    "builtins": r"str\.(?:capitalize|casefold|lower|[lr]?strip|r?split|splitlines|title|upper)",
    "numpy": rf"{_FUNCTION}|ndarray\.(?:astype|copy|flatten|mean|ravel|reshape|squeeze|sum)",
    "scipy.special": _FUNCTION,
    "scipy.stats": rf"(?!rv_){_FUNCTION}(?<!_gen)",
    "scipy.interpolate": r"interp1d\._call_\w+",
    "scipy.spatial.distance": _FUNCTION,
    "scipy.linalg": _FUNCTION,
    "scipy.signal": _FUNCTION,
    "scipy.sparse": rf"{_FUNCTION}|_[a-z]{{3}}_(?:matrix|array)",
    "scipy._lib._sparse": _FUNCTION,
    "scipy._lib.array_api_compat": _FUNCTION,
    "pandas.core.dtypes": _FUNCTION,
    "pandas.core.reshape": _FUNCTION,
    "pandas.core.tools": _FUNCTION,
    "sklearn": rf"_?{_FUNCTION}|__pyx_unpickle_[A-Z]\w*",
    "torch._C": rf"_VariableFunctions(?:Class)?(?:\.{_FUNCTION})?",
    "torch._C._nn": _FUNCTION,
    "torch.amp.grad_scaler": r"_refresh_\w+",
    "gensim": r"call_on_class_only|identity|df2idf|\w+_scorer",
    "statsmodels.tsa.exponential_smoothing": r"_ets_smooth_\w+|ETSModel\.\w+",
    "lifelines.fitters": r"[A-Z]\w+Fitter\.\w+",
    "torch.nn.functional": _FUNCTION,
    "torch.nn.modules": r"Lazy\w+\._(?:infer_parameters|lazy_load_hook)",
    "torch.optim.lr_scheduler": r"CyclicLR\._\w+_scale_fn",
    "torch.nn.init": _FUNCTION,
    # Reconstructors, and classes beside those of ML_CLASSES.
    "scipy.stats._continuous_distns": r"[a-z]\w*_gen",
    "scipy.stats._discrete_distns": r"[a-z]\w*_gen(?:\._(?:entropy|[cp][dp]f_single))?",
    "numpy.polynomial": r"[A-Z][a-zE]+",
    "scipy": r"__pyx_unpickle_[A-Z]\w*",
    "pandas": r"__pyx_unpickle_[A-Z]\w*|[A-Z]\w+(?:Index|Dtype|Array)|_new_[A-Z]\w+",
    "torch._utils": r"_rebuild_\w+",
    "numpy.random": r"_?[A-Z][A-Za-z0-9]+|__pyx_unpickle_[A-Z]\w*",
    "numpy.dtypes": r"[A-Z][A-Za-z0-9]+",
    "statsmodels.tsa.statespace": r"[cdsz][A-Z]\w+",
    "statsmodels.genmod.families": r"[A-Z]\w+",
    "transformers.activations": r"[A-Z]\w+",
    "__torch__": r"\w+",
}

ML_CLASSES = (
    r"sklearn\.(?!externals|datasets|tests|_build_utils|utils\._testing|utils\.parallel|__check|callback)",
    r"imblearn\.(?!datasets|utils\.testing|tests)",
    r"xgboost\.(?:sklearn|callback)$",
    r"lightgbm\.(?:sklearn|callback|engine)$",
    r"catboost(?:\.core)?$",
    r"_catboost$",
    r"statsmodels\.(?:regression|discrete|genmod|tsa|base|robust|duration|multivariate|gam)\.",
    r"statsmodels\.(?:miscmodels|stats|nonparametric|tools|imputation|othermod)\.",
    r"scipy\.(?:sparse|spatial|interpolate|optimize|linalg|special|cluster|ndimage)\.",
    r"pandas\.(?:core|_libs|arrays|tseries)\.(?!computation|tests|interchange)",
    r"torch\.nn\.(?:modules|quantized|quantizable|qat|intrinsic|utils|parameter|init|parallel)\b",
    r"torch\.optim\b",
    r"torch\.ao\.(?:nn|quantization)\b",
    r"torch\.distributions\b",
    r"torch\.(?:amp|cuda\.amp)\.grad_scaler$",
    r"torchvision\.(?:models|ops|transforms)\.",
    r"timm\.(?:models|layers)\.",
    r"ultralytics\.nn\.(?:modules\.\w+|tasks)$",
    r"transformers\.models\.\w+\.(?:modeling|configuration)_\w+$",
    r"transformers\.(?:modeling_outputs|pytorch_utils)$",
    r"category_encoders\.",
    r"feature_engine\.(?!datasets)",
    r"hdbscan\.",
    r"umap\.umap_$",
    r"lifelines\.(?:fitters|utils)\b",
    r"gensim\.(?:models\.(?!wrappers)|corpora\.|similarities\.)",
    r"mapie\.",
    r"river\.(?!datasets|cli|checks)",
    r"sksurv\.(?!datasets)",
    r"mlxtend\.(?:classifier|regressor|feature_selection|preprocessing|cluster)\.",
    r"ngboost\.",
    r"pyod\.models\.",
    r"patsy\.(?:design_info|desc|categorical|contrasts)$",
)
"""Modules whose classes may be made; ``DiscretizedCount`` and the like of statsmodels, which are
SciPy distributions and run a text of their state, are in none of them."""

DENIED_PARTS = _words(
    """
    testing _testing tests test conftest datasets hub package serialization jit f2py distutils
    cpp_extension cpp_builder codecache _dynamo _inductor _functorch fx _export _lazy bottleneck
    collect_env hipify benchmark tensorboard distributed multiprocessing rpc elastic io ctypeslib
    pickle_compat lib npyio _datasource cli commands server plugins sandbox externals
    computation pytables iolib export datapipes _config_module unsupported_tensor_ops _C
    _precompute _test_common estimator_checks
    """
)
"""Parts of the names of modules in ML packages which load, run or fetch something."""

# dill names the globals of the program like this.
BARE_CLASSES = re.compile(
    r"scipy\.stats\._\w+\.(?:rv_\w+|\w+_gen)|torch\.nn\.parallel\.data_parallel\.DataParallel"
    r"|torch\.utils\.data\.dataset\.\w+|joblib\.memory\.Memory"
    r"|(?:gensim|ultralytics|mapie|river(?!\._river_rust)|sksurv)\..*"
)
"""Classes whose constructors act on what they are given; picklers give them nothing."""

HELD = frozenset({("__builtin__", "__main__"), ("builtins", "__main__")})
ATTRIBUTES = frozenset({("zoneinfo.ZoneInfo", "_unpickle")})
"""What may be taken by ``getattr`` and called: a class and its attribute."""

CODE_CARRIERS = frozenset({"cloudpickle", "dill"})
CODE_CARRYING = _words(
    """
    _make_function _make_cell _make_empty_cell _cell_set _make_skeleton_class _make_skeleton_enum
    _make_typevar _make_dict_keys _make_dict_values _make_dict_items _class_setstate
    _function_setstate _fill_function _make_skel_func _rehydrate_skeleton_class _builtin_type
    _empty_cell_value _lookup_class_or_track subimport dynamic_subimport
    _create_parametrized_type_hint _create_function _create_code _create_type _load_type
    _create_cell _create_array _create_dtypemeta _create_ftype _create_namedtuple _create_weakref
    _create_weakproxy _create_lock _create_rlock _import_module _create_stringi _create_stringo
    _create_re _create_slice _create_range _get_dtype _create_property
    """
)
"""The reconstructors of the packages that pickle functions and classes with their code."""

BUILT_IN_TYPES = frozenset({"_builtin_type", "_load_type"})
"""Those that give a type of Python itself."""

CLASS_MAKERS = frozenset({"_create_type", "_make_skeleton_class"})
"""Those of which what they return is a class of the file."""

FUNCTION_MAKERS = frozenset({"_make_function", "_make_skel_func", "_create_function"})
"""Those of which what they return must not be called while it is loaded."""
