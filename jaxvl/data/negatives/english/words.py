"""Short lists of English words, as lemmas; `Lexicon` says what each is."""

from jaxvl.data.negatives.lexicon import Lexicon

ATTRIBUTES = {
    "colour": (
        "red scarlet crimson maroon",
        "orange tangerine",
        "yellow golden gold",
        "green emerald olive lime",
        "turquoise cyan teal aqua blue azure cobalt navy",
        "purple violet lavender lilac",
        "pink rosy magenta",
        "white ivory cream",
        "black ebony",
        "brown tan beige khaki",
        "grey gray silver",
    ),
    "size": (
        "small little tiny miniature mini",
        "big large huge giant enormous gigantic massive",
    ),
    "pattern": (
        "plain solid",
        "striped stripy stripey",
        "dotted spotted polka-dot",
        "checked checkered plaid",
        "floral flowered",
    ),
    "material": (
        "wooden wood",
        "metal steel iron metallic",
        "plastic",
        "glass",
        "leather",
        "stone",
        "paper",
    ),
    "hair": ("blond blonde", "brunette", "red-haired redheaded", "grey-haired gray-haired"),
    "age": ("young", "old elderly older"),
    "newness": ("new", "old ancient"),
    "length": ("long", "short"),
    "height": ("tall high", "short low"),
    "moisture": ("wet", "dry"),
    "filling": ("empty", "full crowded busy"),
    "opening": ("open", "closed shut"),
    "brightness": ("dark", "light bright"),
    "warmth": ("hot warm", "cold frozen"),
    "cleanness": ("clean", "dirty muddy dusty"),
    "shape": ("round circular", "square", "triangular", "rectangular", "oval"),
    "sex": ("male", "female"),
    "side": ("left", "right"),
    "weight": ("heavy", "lightweight"),
    "thickness": ("thick", "thin"),
    "mood": ("happy cheerful", "sad unhappy", "angry"),
    "surface": ("smooth", "rough"),
    "covering": ("bald", "hairy", "furry"),
    "clothing": ("naked nude", "dressed clothed"),
}

# A word may be in several groups.
TOGETHER = {
    "noun": (
        "street road path sidewalk pavement lane highway city town alley crosswalk trail driveway",
        "shirt top t-shirt tshirt tee jersey sweater sweatshirt blouse vest jacket coat uniform "
        "outfit clothing clothes suit hoodie attire",
        "pants trousers jeans shorts",
        "hat cap helmet hood beanie",
        "dress gown skirt outfit",
        "shoe boot sandal sneaker",
        "glove mitten",
        "glass sunglasses goggles",
        "sea ocean water lake river beach shore wave pool pond creek stream waterfall surf puddle "
        "coast sand shoreline bay",
        "field grass lawn yard park meadow garden plain pasture backyard ground area forest wood "
        "tree bush flower plant leaf",
        "mountain hill cliff rock slope peak ridge boulder stone cave",
        "snow ice slope hill mountain",
        "sofa couch chair seat armchair bench stool",
        "table desk counter",
        "bike bicycle",
        "motorcycle motorbike bike dirtbike",
        "car vehicle automobile truck van suv taxi cab bus",
        "boat ship kayak canoe raft",
        "ball football basketball soccer baseball tennis volleyball toy",
        "frisbee disc disk toy",
        "stick branch log bat pole toy",
        "dog puppy canine animal pet greyhound poodle hound",
        "cat kitten animal pet",
        "bird animal seagull pigeon duck",
        "horse pony animal bull cow",
        "building house structure store shop home wall window brick apartment church city",
        "room kitchen house bedroom building floor",
        "wall fence railing gate barrier",
        "floor ground carpet rug",
        "air sky",
        "crowd group people audience spectator fan",
        "camera picture photo",
        "mouth tongue teeth tooth face head",
        "hair head beard",
        "hand arm finger",
        "leg foot",
        "food meal snack dinner lunch plate dish bowl",
        "drink beverage beer coffee cup glass bottle mug can",
        "bag backpack purse suitcase",
        "game match sport race competition event",
        "stage concert band performance",
        "guitar instrument",
        "phone cellphone telephone",
        "sign banner poster billboard",
        "swing playground slide",
        "ramp skateboard rail stair step halfpipe jump trick",
        "rope leash cord string",
        "circle disc disk ball ring",
        "square box",
        "cross plus",
        "ring hoop",
        "crescent moon",
        "arrow pointer",
        "triangle wedge",
        "diamond rhombus",
        "team player uniform jersey",
        "distance background",
        "toy doll",
        "canvas painting",
        "surfer surfboard wave",
        "skier ski snow",
        "snowboarder snowboard snow",
        "rider horse motorcycle bike",
        "tent camp",
        "track race racetrack",
        "fountain water",
    ),
    "verb": (
        "sit rest lounge lean relax perch",
        "stand wait pose look lean",
        "lie lay sleep nap rest relax",
        "walk stroll hike wander cross pass stand",
        "run race sprint chase jog charge dash rush gallop play",
        "jump leap hop bounce fly dive play perform flip",
        "hold carry grasp grip have bring use wear",
        "look watch stare gaze view observe see face stand sit",
        "smile laugh grin pose",
        "talk speak chat converse sit",
        "throw toss pitch",
        "catch grab reach",
        "climb scale ascend hike",
        "ride pedal drive race",
        "ski snowboard slide",
        "skate skateboard ride",
        "surf ride",
        "swim wade float paddle splash",
        "eat chew bite",
        "dress wear clothe",
        "kiss hug embrace",
        "fight wrestle play",
        "dance perform play",
        "sing perform play",
        "push pull",
        "hang swing",
        "hit strike swing",
        "cover surround fill",
        "surround encircle",
        "hide cover",
        "point gesture wave",
        "cook prepare",
        "paint draw",
        "fall slide trip",
        "sing play",
        "cheer clap watch",
    ),
}

PEOPLE = {
    "man": "m+",
    "gentleman": "m+",
    "guy": "m+",
    "father": "m+",
    "husband": "m+",
    "dad": "m+",
    "woman": "f+",
    "lady": "f+",
    "mother": "f+",
    "wife": "f+",
    "mom": "f+",
    "bride": "f+",
    "boy": "m-",
    "son": "m-",
    "girl": "f-",
    "daughter": "f-",
    "female": "f",
    "male": "m",
    "child": "-",
    "kid": "-",
    "baby": "-",
    "toddler": "-",
    "infant": "-",
    "adult": "+",
    "teenager": "-",
    "youth": "-",
    "teen": "-",
    "brother": "m",
    "sister": "f",
    "person": "",
    "people": "",
    "player": "",
    "couple": "",
    "friend": "",
    "group": "",
    "crowd": "",
    "worker": "",
    "rider": "",
    "biker": "",
    "cyclist": "",
    "bicyclist": "",
    "skateboarder": "",
    "skater": "",
    "snowboarder": "",
    "skier": "",
    "surfer": "",
    "climber": "",
    "hiker": "",
    "swimmer": "",
    "runner": "",
    "dancer": "",
    "performer": "",
    "athlete": "",
    "spectator": "",
    "team": "",
    "family": "",
    "somebody": "",
    "someone": "",
    "individual": "",
    "officer": "",
    "soldier": "",
    "student": "",
    "teacher": "",
    "artist": "",
    "musician": "",
    "tourist": "",
    "pedestrian": "",
    "customer": "",
    "driver": "",
    "opponent": "",
    "audience": "",
    "singer": "",
    "band": "",
    "fan": "",
    "member": "",
    "other": "",
    "adults": "+",
    "folk": "",
    "racer": "",
    "jogger": "",
    "kayaker": "",
    "fisherman": "m+",
    "skiier": "",
    "guard": "",
    "passenger": "",
    "vendor": "",
    "chef": "",
    "goalie": "",
    "wrestler": "",
    "boxer": "",
    "motorcyclist": "",
    "motorcycler": "",
    "gymnast": "",
    "diver": "",
    "cheerleader": "",
    "onlooker": "",
    "bystander": "",
    "parent": "+",
    "referee": "",
    "coach": "",
    "shopper": "",
}

# Words too general to contradict anything, or about the image and not about its content.
VAGUE = {
    "noun": frozenset(
        "person people someone somebody group thing object item area place side front back top "
        "bottom middle center centre edge end corner part piece kind type lot bunch pair couple "
        "set number row line one other background foreground distance scene view picture photo "
        "photograph image shot close-up closeup camera day night time way left right animal toy "
        "member others body something anything air ground inside outside outdoors indoors fun "
        "attention activity position surface figure upside face s t scenery sort variety".split()
    ),
    "verb": frozenset(
        "be have do go get make take use try enjoy look play move pose wait stay practice "
        "participate appear seem prepare show see depict picture feature let can will start begin "
        "keep come put attempt follow have get attach perform wear display locate include contain "
        "surround share like want need watch stand compete train say".split()
    ),
    "adj": frozenset(
        "other such same different many several few various another next own more first second "
        "last main certain whole single multiple similar able numerous each only".split()
    ),
}

# Verbs and nouns that are never replaced: the sentence needs them, or they are about the image.
UNTOUCHED_VERBS = frozenset(
    "be have do can will could would should may might must let get show see depict picture feature "
    "seem appear display include contain try start begin continue want use go make look".split()
)
UNTOUCHED_NOUNS = frozenset(
    "side front back top bottom middle center centre edge end part piece kind type lot bunch pair "
    "couple set number row line background foreground distance scene view picture photo photograph "
    "image shot close-up closeup camera day night time way left right other one others something "
    "group s t variety sort it".split()
)

# Relations that hold in one direction only: "A on B" is not "B on A".
ONE_WAY = frozenset(
    "in on under underneath beneath below above over behind inside within into onto through around "
    "atop across along down up off from toward towards of than surrounding".split()
)
ONE_WAY_OF = frozenset("front top left right inside outside out back side".split())
ONE_WAY_THAN = frozenset("higher lower bigger smaller taller larger older younger".split())
# Nouns are not exchanged around these verbs. The relation holds in both directions, or the sentence
# makes no sense afterwards ("a hat wearing a man").
BOTH_WAYS = frozenset(
    "be have kiss hug embrace meet join face greet marry touch resemble match fight wrestle race "
    "do play wear".split()
)

ARTICLES = frozenset(("a", "an"))
COUNTING = frozenset(("a", "an", "one", "another", "each", "every", "single"))


LEXICON = Lexicon(
    attributes=ATTRIBUTES,
    together=TOGETHER,
    people=PEOPLE,
    vague=VAGUE,
    untouched_nouns=UNTOUCHED_NOUNS,
)
